import { readSync } from 'node:fs'
import { ERRNO, LIMITS } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import type { BlockTable } from './block-table.ts'
import type { SegmentFiles } from './segment-files.ts'
import { S_IFDIR, S_IFMT, S_IFREG } from './tree.ts'

const BLOCK = LIMITS.blockBytesMax

/** The answer of `read` when a block is not in the cache: the fetch thread takes over. */
export const NOT_CACHED = -0x10000

/** Reads that the session thread answers itself, from segment files, by the block table. No await, no object per read. */
export class CachedReads {
  readonly #index: FlistIndex
  readonly #table: BlockTable
  readonly #files: SegmentFiles
  /** Set when a read touched a block that the readahead had marked; the caller tells the fetch thread and clears it. */
  markedBlock = -1

  constructor(index: FlistIndex, table: BlockTable, files: SegmentFiles) {
    this.#index = index
    this.#table = table
    this.#files = files
  }

  /**
   * Copies up to `wanted` bytes of a file from `offset` to `out` at `at`. Returns the bytes copied (fewer only at the
   * file's end), NOT_CACHED, or a negative errno.
   */
  read(row: number, offset: number, wanted: number, out: Buffer, at: number): number {
    const index = this.#index
    const type = (index.mode[row] ?? 0) & S_IFMT
    if (type !== S_IFREG) return type === S_IFDIR ? -ERRNO.EISDIR : -ERRNO.EINVAL
    const size = index.size[row] ?? 0
    const end = Math.min(size, offset + wanted)
    if (offset >= end) return 0
    const first = index.first[row] ?? 0
    const count = index.count[row] ?? 0
    let from = offset
    while (from < end) {
      const block = Math.floor(from / BLOCK)
      if (block >= count) return NOT_CACHED
      const upTo = this.#readRun(first, block, count, from, end, out, at + (from - offset))
      if (upTo < 0) return NOT_CACHED
      from = upTo
    }
    return end - offset
  }

  /** One pread for the blocks that follow each other in one segment. Returns the file offset reached, or -1. */
  #readRun(first: number, block: number, count: number, from: number, end: number, out: Buffer, at: number): number {
    const table = this.#table
    const segment = table.segmentOf(first + block)
    const start = table.offsetOf(first + block)
    if (segment === 0 || table.segmentOf(first + block) !== segment) return -1
    if (table.takeMark(first + block)) this.markedBlock = first + block
    let last = block
    while (last + 1 < count && (last + 1) * BLOCK < end) {
      const next = first + last + 1
      const adjacent = table.offsetOf(next) === start + (last + 1 - block) * BLOCK
      if (table.segmentOf(next) !== segment || !adjacent) break
      if (table.takeMark(next)) this.markedBlock = next
      last += 1
    }
    const upTo = Math.min(end, (last + 1) * BLOCK)
    const fd = this.#files.open(segment)
    if (fd < 0 || !readFully(fd, out, at, upTo - from, start + (from - block * BLOCK))) {
      for (let gone = block; gone <= last; gone += 1) table.clear(first + gone)
      return -1
    }
    return upTo
  }
}

/** False where the file is shorter than its rows say, or the disk fails: the block counts as not cached. */
export function readFully(fd: number, out: Buffer, at: number, bytes: number, position: number): boolean {
  let done = 0
  try {
    while (done < bytes) {
      const got = readSync(fd, out, at + done, bytes - done, position + done)
      if (got === 0) return false
      done += got
    }
  } catch {
    return false
  }
  return true
}
