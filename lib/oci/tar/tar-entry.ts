/** Kinds of entries; the order is that of the type flags "0" to "6". */
export type TarType = 'file' | 'hardlink' | 'symlink' | 'character' | 'block' | 'directory' | 'fifo'

export interface TarXattr {
  readonly name: Buffer
  readonly value: Buffer
}

/** Where the bytes of a sparse file lie in it. Ranges are in order and do not touch the end of the next. */
export interface SparseRange {
  readonly offset: number
  readonly size: number
}

/** One entry, its extension headers applied. Names and targets are the bytes that stand there. */
export interface TarEntry {
  name: Buffer
  type: TarType
  /** The 12 bits of permissions. */
  mode: number
  uid: number
  gid: number
  /** Bytes of the file as it is read, holes counted; 0 for what is no file. */
  size: number
  /** Seconds, and nanoseconds from 0 to 999999999. */
  mtime: number
  mtimeNs: number
  /** Of a link, symbolic or hard; else empty. */
  target: Buffer
  major: number
  minor: number
  xattrs: readonly TarXattr[]
  /** Of a sparse file. */
  sparse: readonly SparseRange[] | undefined
}
