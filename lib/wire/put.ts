import { ATTR, ATTR_OUT, DIRENT, DIRENTPLUS, ENTRY_OUT, OUT_HEADER } from './layout.ts'

/*
 * Writers of reply structures into a buffer seen as 32-bit words: three times the speed of Buffer's methods on the
 * READDIRPLUS path. `word` arguments count 4-byte words from the start of the reply.
 */

/** A lifetime without end, in seconds. Larger values overflow the kernel's jiffies conversion into the past. */
export const FOREVER_S = 0x7fff_ffff

const TWO_32 = 0x1_0000_0000

/** One buffer, both ways to see it. */
export interface Words {
  readonly bytes: Buffer
  readonly u32: Uint32Array
}

/** A buffer of its own memory, aligned so that it can be seen as words. */
export function makeWords(byteLength: number): Words {
  const memory = new ArrayBuffer(byteLength)
  return { bytes: Buffer.from(memory), u32: new Uint32Array(memory) }
}

/** The same over memory that is there; both views begin at a multiple of 4. */
export function wordsOver(memory: ArrayBuffer, offset: number, byteLength: number): Words {
  return { bytes: Buffer.from(memory, offset, byteLength), u32: new Uint32Array(memory, offset, byteLength >> 2) }
}

/** The header of a reply of `len` bytes in all; `error` is an errno or 0. */
export function putOutHeader(u32: Uint32Array, len: number, error: number, uniqueLo: number, uniqueHi: number): void {
  u32[OUT_HEADER.len / 4] = len
  u32[OUT_HEADER.error / 4] = -error
  u32[OUT_HEADER.unique / 4] = uniqueLo
  u32[OUT_HEADER.unique / 4 + 1] = uniqueHi
}

/** What an attribute record is made from. Times are pairs lo, hi of an i64 in seconds. */
export interface AttrSource {
  readonly mode: Uint16Array
  readonly nlink: Uint32Array
  readonly size: Float64Array
  readonly owner: Uint32Array
  readonly owners: Uint32Array
  readonly mtime: Int32Array
  readonly ctime: Int32Array
  readonly mtimeNs: Uint32Array | undefined
  readonly ctimeNs: Uint32Array | undefined
  readonly first: Uint32Array
  readonly leader: Uint32Array
}

const S_IFMT = 0o170000
const S_IFCHR = 0o020000
const S_IFBLK = 0o060000

/** `struct fuse_attr` of a row, as 22 words; every word is written. */
export function putAttr(u32: Uint32Array, word: number, from: AttrSource, row: number): void {
  const size = from.size[row] ?? 0
  const mode = from.mode[row] ?? 0
  const blocks = Math.ceil(size / 512)
  const type = mode & S_IFMT
  const owner = 2 * (from.owner[row] ?? 0)
  const mtimeNs = from.mtimeNs === undefined ? 0 : (from.mtimeNs[row] ?? 0)
  u32[word + ATTR.ino / 4] = (from.leader[row] ?? 0) + 1
  u32[word + ATTR.ino / 4 + 1] = 0
  u32[word + ATTR.bytes / 4] = size
  u32[word + ATTR.bytes / 4 + 1] = size / TWO_32
  u32[word + ATTR.blocks / 4] = blocks
  u32[word + ATTR.blocks / 4 + 1] = blocks / TWO_32
  u32[word + ATTR.atime / 4] = from.mtime[2 * row] ?? 0
  u32[word + ATTR.atime / 4 + 1] = from.mtime[2 * row + 1] ?? 0
  u32[word + ATTR.mtime / 4] = from.mtime[2 * row] ?? 0
  u32[word + ATTR.mtime / 4 + 1] = from.mtime[2 * row + 1] ?? 0
  u32[word + ATTR.ctime / 4] = from.ctime[2 * row] ?? 0
  u32[word + ATTR.ctime / 4 + 1] = from.ctime[2 * row + 1] ?? 0
  u32[word + ATTR.atimeNs / 4] = mtimeNs
  u32[word + ATTR.mtimeNs / 4] = mtimeNs
  u32[word + ATTR.ctimeNs / 4] = from.ctimeNs === undefined ? 0 : (from.ctimeNs[row] ?? 0)
  u32[word + ATTR.mode / 4] = mode
  u32[word + ATTR.nlink / 4] = from.nlink[row] ?? 0
  u32[word + ATTR.uid / 4] = from.owners[owner] ?? 0
  u32[word + ATTR.gid / 4] = from.owners[owner + 1] ?? 0
  u32[word + ATTR.rdev / 4] = type === S_IFCHR || type === S_IFBLK ? (from.first[row] ?? 0) : 0
  u32[word + ATTR.blksize / 4] = 4096
  u32[word + ATTR.flags / 4] = 0
}

/** `struct fuse_entry_out` of a row: its leader's id, lifetimes without end. */
export function putEntry(u32: Uint32Array, word: number, from: AttrSource, row: number, generation: number): void {
  putEntryHead(u32, word, (from.leader[row] ?? 0) + 1, generation)
  putAttr(u32, word + ENTRY_OUT.attr / 4, from, row)
}

/** The part before the attributes; node id 0 stands for a name that is not there. */
export function putEntryHead(u32: Uint32Array, word: number, nodeid: number, generation: number): void {
  u32[word + ENTRY_OUT.nodeid / 4] = nodeid
  u32[word + ENTRY_OUT.nodeid / 4 + 1] = 0
  u32[word + ENTRY_OUT.generation / 4] = generation
  u32[word + ENTRY_OUT.generation / 4 + 1] = 0
  u32[word + ENTRY_OUT.entryValid / 4] = FOREVER_S
  u32[word + ENTRY_OUT.entryValid / 4 + 1] = 0
  u32[word + ENTRY_OUT.attrValid / 4] = FOREVER_S
  u32[word + ENTRY_OUT.attrValid / 4 + 1] = 0
  u32[word + ENTRY_OUT.entryValidNs / 4] = 0
  u32[word + ENTRY_OUT.attrValidNs / 4] = 0
}

/** `struct fuse_attr_out` of a row. */
export function putAttrOut(u32: Uint32Array, word: number, from: AttrSource, row: number): void {
  u32[word + ATTR_OUT.attrValid / 4] = FOREVER_S
  u32[word + ATTR_OUT.attrValid / 4 + 1] = 0
  u32[word + ATTR_OUT.attrValidNs / 4] = 0
  u32[word + ATTR_OUT.dummy / 4] = 0
  putAttr(u32, word + ATTR_OUT.attr / 4, from, row)
}

/** Bytes of a directory record with a name of `nameBytes`, padded. */
export function direntBytes(nameBytes: number, plus: boolean): number {
  const head = plus ? DIRENTPLUS.size : DIRENT.size
  return (head + nameBytes + DIRENT.align - 1) & ~(DIRENT.align - 1)
}

/**
 * `struct fuse_dirent` with its name, at a byte position that is a multiple of 8. `off` is where the next READDIR
 * goes on; `mode` gives d_type. Padding is written as zeros.
 */
export function putDirent(
  words: Words,
  at: number,
  ino: number,
  off: number,
  mode: number,
  names: Buffer,
  nameFrom: number,
  nameTo: number,
): void {
  const { bytes, u32 } = words
  const word = at / 4
  const nameBytes = nameTo - nameFrom
  // The last 8 bytes first: what the name does not cover stays zero.
  const end = word + direntBytes(nameBytes, false) / 4
  u32[end - 1] = 0
  u32[end - 2] = 0
  u32[word + DIRENT.ino / 4] = ino
  u32[word + DIRENT.ino / 4 + 1] = 0
  u32[word + DIRENT.off / 4] = off
  u32[word + DIRENT.off / 4 + 1] = 0
  u32[word + DIRENT.namelen / 4] = nameBytes
  u32[word + DIRENT.type / 4] = mode >>> 12
  copyName(bytes, at + DIRENT.size, names, nameFrom, nameTo)
}

/** A loop beats Buffer.copy below about 40 bytes, and most names are shorter. */
function copyName(to: Buffer, at: number, from: Buffer, start: number, end: number): void {
  if (end - start > 40) {
    from.copy(to, at, start, end)
    return
  }
  for (let index = start; index < end; index += 1) to[at++] = from[index] ?? 0
}
