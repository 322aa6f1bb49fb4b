export { TarReader } from './tar/tar-reader.ts'
export type { TarReaderOptions } from './tar/tar-reader.ts'
export type { SparseRange, TarEntry, TarType, TarXattr } from './tar/tar-entry.ts'
export { decompressed } from './decompress.ts'
