import { isUtf8 } from 'node:buffer'
import { ERRNO } from '../../base/index.ts'
import { type RowOrErrno, S_IFDIR, S_IFLNK, type Tree } from '../../vfs/index.ts'

const SLASH = 0x2f
const S_IFCHR = 0o020000
const S_IFBLK = 0o060000
const TWO_32 = 0x1_0000_0000
/** What stands in a text for bytes that are none. */
const NO_TEXT = '\uFFFD'

/** Attributes as fuse-native takes them: `struct stat`, times in milliseconds since 1970. */
export interface PathStat {
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly nlink: number
  readonly ino: number
  readonly rdev: number
  readonly blksize: number
  /** Of 512 bytes. */
  readonly blocks: number
  readonly atime: number
  readonly mtime: number
  readonly ctime: number
}

/** `.`, `..` and the children of a folder, each with its attributes. */
export interface Listing {
  readonly names: string[]
  readonly stats: PathStat[]
}

/**
 * What a tree answers to those who ask by paths that are texts. A name whose bytes are no UTF-8 is known by its text with U+FFFD in
 * it, as long as no other name beside it has the same; what cannot be said at all is EILSEQ, never another file and never ENOENT.
 */
export class PathAnswers {
  readonly #tree: Tree

  constructor(tree: Tree) {
    this.#tree = tree
  }

  /** The row of a path from the root, or a negative errno. Links are not followed. */
  find(path: string): RowOrErrno {
    const bytes = Buffer.from(path)
    let row = 0
    for (let from = 1; from < bytes.length;) {
      const slash = bytes.indexOf(SLASH, from)
      const to = slash < 0 ? bytes.length : slash
      const name = bytes.toString('utf8', from, to)
      row = name.includes(NO_TEXT) ? this.#findText(row, name) : this.#tree.lookup(row, bytes, from, to)
      if (row < 0) return row
      from = to + 1
    }
    return row
  }

  #findText(folder: number, text: string): RowOrErrno {
    if (this.#tree.typeOf(folder) !== S_IFDIR) return -ERRNO.ENOTDIR
    const { first, count } = this.#tree.index
    const end = (first[folder] ?? 0) + (count[folder] ?? 0)
    let found: RowOrErrno = -ERRNO.ENOENT
    for (let row = first[folder] ?? 0; row < end; row += 1) {
      if (this.#nameOf(row) !== text) continue
      if (found >= 0) return -ERRNO.EILSEQ
      found = row
    }
    return found
  }

  #nameOf(row: number): string {
    const { names, nameAt } = this.#tree.index
    return names.toString('utf8', nameAt[row], nameAt[row + 1])
  }

  stat(row: number): PathStat {
    const { index } = this.#tree
    const type = this.#tree.typeOf(row)
    const size = index.size[row] ?? 0
    const owner = 2 * (index.owner[row] ?? 0)
    const mtime = milliseconds(index.mtime, index.mtimeNs, row)
    return {
      mode: index.mode[row] ?? 0,
      uid: index.owners[owner] ?? 0,
      gid: index.owners[owner + 1] ?? 0,
      size,
      nlink: index.nlink[row] ?? 1,
      ino: (index.leader[row] ?? 0) + 1,
      rdev: type === S_IFCHR || type === S_IFBLK ? (index.first[row] ?? 0) : 0,
      blksize: 4096,
      blocks: Math.ceil(size / 512),
      atime: mtime,
      mtime,
      ctime: milliseconds(index.ctime, index.ctimeNs, row),
    }
  }

  /** What is in a folder, or a negative errno. */
  list(folder: number): Listing | number {
    if (this.#tree.typeOf(folder) !== S_IFDIR) return -ERRNO.ENOTDIR
    const { first, count, parent } = this.#tree.index
    const names = ['.', '..']
    const stats = [this.stat(folder), this.stat(parent[folder] ?? 0)]
    const end = (first[folder] ?? 0) + (count[folder] ?? 0)
    for (let row = first[folder] ?? 0; row < end; row += 1) {
      names.push(this.#nameOf(row))
      stats.push(this.stat(row))
    }
    return { names, stats }
  }

  /** A symbolic link's target, or a negative errno: half a target would lead elsewhere. */
  target(row: number): string | number {
    if (this.#tree.typeOf(row) !== S_IFLNK) return -ERRNO.EINVAL
    const { index } = this.#tree
    const start = index.first[row] ?? 0
    const bytes = index.names.subarray(start, start + (index.count[row] ?? 0))
    return isUtf8(bytes) ? bytes.toString() : -ERRNO.EILSEQ
  }
}

/** Before 1970 there is no number for it. */
function milliseconds(pairs: Int32Array, fractions: Uint32Array | undefined, row: number): number {
  const seconds = ((pairs[2 * row] ?? 0) >>> 0) + (pairs[2 * row + 1] ?? 0) * TWO_32
  const ms = seconds * 1000 + Math.floor((fractions?.[row] ?? 0) / 1_000_000)
  return Math.min(Math.max(ms, 0), Number.MAX_SAFE_INTEGER)
}
