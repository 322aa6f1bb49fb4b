import { ERRNO, LIMITS } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'

export const S_IFMT = 0o170000
export const S_IFDIR = 0o040000
export const S_IFREG = 0o100000
export const S_IFLNK = 0o120000

/** A negative errno, or a row or byte count: the session answers without an object or an exception. */
export type RowOrErrno = number

const DOT = 0x2e
const SLASH = 0x2f

/**
 * What a mounted archive answers without asking anybody: names, links, attributes, totals. Rows are those of the index;
 * a node id is its leader's row plus one.
 */
export class Tree {
  readonly index: FlistIndex

  constructor(index: FlistIndex) {
    this.index = index
  }

  /** The row of a node id, or -ESTALE: ids come back from file handles, which anybody may forge. */
  rowOf(nodeIdLo: number, nodeIdHi: number): RowOrErrno {
    if (nodeIdHi !== 0 || nodeIdLo === 0 || nodeIdLo > this.index.rowCount) return -ERRNO.ESTALE
    return nodeIdLo - 1
  }

  typeOf(row: number): number {
    return (this.index.mode[row] ?? 0) & S_IFMT
  }

  /** The row of a name in a directory; the name is `from` to `to` of `buffer`. `.`, `..` and `/` come from file handles. */
  lookup(row: number, buffer: Buffer, from: number, to: number): RowOrErrno {
    if (to - from > LIMITS.nameBytesMax) return -ERRNO.ENAMETOOLONG
    if (buffer[from] === DOT) {
      if (to - from === 1) return row
      if (to - from === 2 && buffer[from + 1] === DOT) return this.index.parent[row] ?? 0
    }
    // A file that the kernel knows by its handle only is called "/", below itself (d_obtain_alias in fs/dcache.c). Before
    // Linux 6.16 an overlay asks whether that name still holds for each file that was copied up at an earlier mount.
    if (buffer[from] === SLASH && to - from === 1) return row
    if (this.typeOf(row) !== S_IFDIR) return -ERRNO.ENOTDIR
    const found = this.index.find(row, buffer, from, to)
    return found < 0 ? -ERRNO.ENOENT : found
  }

  /** Copies a symbolic link's target; returns its bytes, or a negative errno. */
  readlink(row: number, out: Buffer, at: number): number {
    const { index } = this
    if (this.typeOf(row) !== S_IFLNK) return -ERRNO.EINVAL
    const start = index.first[row] ?? 0
    return index.names.copy(out, at, start, start + (index.count[row] ?? 0))
  }

  /** An extended attribute's value, or undefined. */
  xattr(row: number, name: Buffer): Buffer | undefined {
    return this.index.xattrs(row).find((entry) => entry.name.equals(name))?.value
  }

  /** The names of a row's extended attributes, each with its NUL. */
  xattrNames(row: number): Buffer {
    return Buffer.concat(this.index.xattrs(row).flatMap((entry) => [entry.name, Buffer.of(0)]))
  }

  /** What statfs tells: 4 KiB blocks of content, inodes; nothing is free in a read-only tree. */
  totals(): { blocks: number; blockBytes: number; files: number } {
    const blockBytes = 4096
    return { blocks: Math.ceil(this.index.contentBytes / blockBytes), blockBytes, files: this.index.inodeCount }
  }
}
