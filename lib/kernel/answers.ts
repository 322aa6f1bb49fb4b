import { ERRNO, LIMITS } from '../base/index.ts'
import type { CachedReads, RowOrErrno, Tree } from '../vfs/index.ts'
import { NOT_CACHED, S_IFDIR, S_IFREG } from '../vfs/index.ts'
import {
  ATTR_OUT,
  direntBytes,
  DIRENTPLUS,
  ENTRY_OUT,
  GETXATTR_IN,
  GETXATTR_OUT,
  IN_HEADER,
  makeWords,
  OUT_HEADER,
  putAttrOut,
  putDirent,
  putEntry,
  putEntryHead,
  READ_IN,
  STATFS_OUT,
  type Words,
} from '../wire/index.ts'

const BODY = OUT_HEADER.size
const BODY_WORD = BODY / 4
const TWO_32 = 0x1_0000_0000

/** The answer is written by the fetch thread. */
export const DEFERRED = -0x20000

/** Where one request and its reply lie. */
export interface Frames {
  readonly frame: Words
  readonly reply: Words
}

/** All mounts of a thread may share them: a request is answered before the next one is taken. */
export function makeFrames(): Frames {
  return {
    frame: makeWords(LIMITS.readBytesMax + LIMITS.frameOverheadBytes),
    reply: makeWords(BODY + LIMITS.readBytesMax + LIMITS.frameOverheadBytes),
  }
}

/** What the session asks of the fetch thread. */
export interface MissSink {
  read(uniqueLo: number, uniqueHi: number, row: number, offset: number, bytes: number): void
  reached(block: number): void
}

/**
 * Answers requests that name a node: each method reads the request from `frame`, writes the reply's body into `reply`
 * behind the header and returns its bytes, or a negative errno, or DEFERRED.
 */
export class Answers {
  readonly frame: Words
  readonly reply: Words
  readonly #tree: Tree
  readonly #reads: CachedReads
  readonly #misses: MissSink
  readonly #generation: number
  /** Every read goes to the fetch thread, which checks it: `--verify always`. */
  readonly #neverFromCache: boolean

  constructor(
    tree: Tree,
    reads: CachedReads,
    misses: MissSink,
    neverFromCache: boolean,
    { frame, reply }: Frames = makeFrames(),
  ) {
    this.frame = frame
    this.reply = reply
    this.#tree = tree
    this.#reads = reads
    this.#misses = misses
    this.#neverFromCache = neverFromCache
    // A handle kept from another archive mounted at the same place must not open a file of this one.
    this.#generation = Number.parseInt(tree.index.digest.slice(0, 8), 16)
  }

  #row(): RowOrErrno {
    const { u32 } = this.frame
    return this.#tree.rowOf(u32[IN_HEADER.nodeid / 4] ?? 0, u32[IN_HEADER.nodeid / 4 + 1] ?? 0)
  }

  #word(offset: number): number {
    return this.frame.u32[(IN_HEADER.size + offset) / 4] ?? 0
  }

  lookup(frameBytes: number): number {
    const parent = this.#row()
    if (parent < 0) return parent
    const nameEnd = this.#nameEnd(IN_HEADER.size, frameBytes)
    if (nameEnd < 0) return nameEnd
    const row = this.#tree.lookup(parent, this.frame.bytes, IN_HEADER.size, nameEnd)
    if (row >= 0) {
      putEntry(this.reply.u32, BODY_WORD, this.#tree.index, row, this.#generation)
      return ENTRY_OUT.size
    }
    if (row !== -ERRNO.ENOENT) return row
    // Absence may be cached: the archive cannot change.
    this.reply.u32.fill(0, BODY_WORD, BODY_WORD + ENTRY_OUT.size / 4)
    putEntryHead(this.reply.u32, BODY_WORD, 0, 0)
    return ENTRY_OUT.size
  }

  getattr(): number {
    const row = this.#row()
    if (row < 0) return row
    putAttrOut(this.reply.u32, BODY_WORD, this.#tree.index, row)
    return ATTR_OUT.size
  }

  readlink(): number {
    const row = this.#row()
    return row < 0 ? row : this.#tree.readlink(row, this.reply.bytes, BODY)
  }

  read(): number {
    const row = this.#row()
    if (row < 0) return row
    const offset = this.#word(READ_IN.offset) + this.#word(READ_IN.offset + 4) * TWO_32
    const bytes = Math.min(this.#word(READ_IN.bytes), LIMITS.readBytesMax)
    const reads = this.#reads
    const got = this.#neverFromCache ? this.#unlessPlain(row) : reads.read(row, offset, bytes, this.reply.bytes, BODY)
    if (reads.markedBlock >= 0) {
      this.#misses.reached(reads.markedBlock)
      reads.markedBlock = -1
    }
    if (got !== NOT_CACHED) return got
    const { u32 } = this.frame
    this.#misses.read(u32[IN_HEADER.unique / 4] ?? 0, u32[IN_HEADER.unique / 4 + 1] ?? 0, row, offset, bytes)
    return DEFERRED
  }

  #unlessPlain(row: number): number {
    const type = this.#tree.typeOf(row)
    if (type === S_IFREG) return NOT_CACHED
    return type === S_IFDIR ? -ERRNO.EISDIR : -ERRNO.EINVAL
  }

  /** READDIR and READDIRPLUS: `.`, `..`, then children; a cookie is the place of the next record. */
  readdir(plus: boolean): number {
    const row = this.#row()
    if (row < 0) return row
    if (this.#tree.typeOf(row) !== S_IFDIR) return -ERRNO.ENOTDIR
    const { index } = this.#tree
    const limit = BODY + Math.min(this.#word(READ_IN.bytes), LIMITS.readBytesMax)
    const count = index.count[row] ?? 0
    const first = index.first[row] ?? 0
    let place = this.#word(READ_IN.offset)
    // A cookie beyond 32 bits was never given out: nothing follows it.
    if (this.#word(READ_IN.offset + 4) !== 0) place = count + 2
    let at: number = BODY
    for (; place < count + 2; place += 1) {
      const next =
        place < 2
          ? this.#putDots(at, limit, plus, row, place)
          : this.#putChild(at, limit, plus, first + place - 2, place)
      if (next < 0) break
      at = next
    }
    return at - BODY
  }

  static readonly #DOTS = Buffer.from('..')

  /** `.` and `..` carry no entry: their node id of 0 tells the kernel so. */
  #putDots(at: number, limit: number, plus: boolean, row: number, place: number): number {
    const end = at + direntBytes(place + 1, plus)
    if (end > limit) return -1
    const target = place === 0 ? row : (this.#tree.index.parent[row] ?? 0)
    if (plus) this.reply.u32.fill(0, at / 4, (at + DIRENTPLUS.dirent) / 4)
    putDirent(
      this.reply,
      at + (plus ? DIRENTPLUS.dirent : 0),
      target + 1,
      place + 1,
      S_IFDIR,
      Answers.#DOTS,
      0,
      place + 1,
    )
    return end
  }

  #putChild(at: number, limit: number, plus: boolean, row: number, place: number): number {
    const { index } = this.#tree
    const from = index.nameAt[row] ?? 0
    const to = index.nameAt[row + 1] ?? 0
    const end = at + direntBytes(to - from, plus)
    if (end > limit) return -1
    const { names, leader, mode } = index
    if (plus) putEntry(this.reply.u32, at / 4, index, row, this.#generation)
    const dirent = at + (plus ? DIRENTPLUS.dirent : 0)
    putDirent(this.reply, dirent, (leader[row] ?? 0) + 1, place + 1, mode[row] ?? 0, names, from, to)
    return end
  }

  /** An archive without extended attributes ends these requests for good: ENOSYS. */
  getxattr(frameBytes: number): number {
    if (!this.#tree.index.hasXattrs) return -ERRNO.ENOSYS
    const row = this.#row()
    if (row < 0) return row
    const from = IN_HEADER.size + GETXATTR_IN.size
    const to = this.#nameEnd(from, frameBytes)
    if (to < 0) return to
    const value = this.#tree.xattr(row, this.frame.bytes.subarray(from, to))
    return value === undefined ? -ERRNO.ENODATA : this.#sized(value)
  }

  listxattr(): number {
    if (!this.#tree.index.hasXattrs) return -ERRNO.ENOSYS
    const row = this.#row()
    return row < 0 ? row : this.#sized(this.#tree.xattrNames(row))
  }

  /** Both xattr calls ask with 0 bytes how many it takes. */
  #sized(value: Buffer): number {
    const room = this.#word(GETXATTR_IN.bytes)
    if (room === 0) {
      this.reply.u32[BODY_WORD] = value.length
      this.reply.u32[BODY_WORD + 1] = 0
      return GETXATTR_OUT.size
    }
    return value.length > room ? -ERRNO.ERANGE : value.copy(this.reply.bytes, BODY)
  }

  statfs(): number {
    const { bytes } = this.reply
    const totals = this.#tree.totals()
    bytes.fill(0, BODY, BODY + STATFS_OUT.size)
    bytes.writeBigUInt64LE(BigInt(totals.blocks), BODY + STATFS_OUT.blocks)
    bytes.writeBigUInt64LE(BigInt(totals.files), BODY + STATFS_OUT.files)
    bytes.writeUInt32LE(totals.blockBytes, BODY + STATFS_OUT.bsize)
    bytes.writeUInt32LE(LIMITS.nameBytesMax, BODY + STATFS_OUT.namelen)
    bytes.writeUInt32LE(totals.blockBytes, BODY + STATFS_OUT.frsize)
    return STATFS_OUT.size
  }

  /** Where the name that starts at `from` ends, or -EINVAL where its NUL is missing. */
  #nameEnd(from: number, frameBytes: number): number {
    const end = this.frame.bytes.indexOf(0, from)
    return end < 0 || end >= frameBytes ? -ERRNO.EINVAL : end
  }
}
