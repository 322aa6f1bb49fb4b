export type { BlockFormat, BlockReader, BlockRef, BlockSource } from './port.ts'
export { DEFAULT_HUB, resolveArchive } from './archive-name.ts'
export type { ResolvedArchive, ResolveOptions } from './archive-name.ts'
