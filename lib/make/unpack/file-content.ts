import { closeSync, ftruncateSync, writeSync } from 'node:fs'
import { FlistError, LIMITS } from '../../base/index.ts'
import type { FlistIndex } from '../../flist/index.ts'
import { type BlockRef, freeBytes, type LocalBlocks } from '../../store/index.ts'
import type { Slots } from './slots.ts'

/** Blocks as the caller reads them: from a cache, or a store. The bytes are the caller's alone. */
export interface BlockSupply {
  read(ref: BlockRef, signal: AbortSignal): Promise<Buffer>
}

/** A larger block is worth the way to other threads. */
const SMALL_BYTES_MAX = 64 * 1024

/** `supply`, but small blocks of folders of this machine are read at once. Those asked for in one turn are read by the disk together. */
export function localFirst(local: LocalBlocks, supply: BlockSupply): BlockSupply {
  return {
    async read(ref, signal) {
      const fd = ref.plainBytes > SMALL_BYTES_MAX ? -1 : local.open(ref.id)
      if (fd < 0) return supply.read(ref, signal)
      await Promise.resolve()
      return local.take(fd, ref) ?? supply.read(ref, signal)
    },
  }
}

const PAGE = 4096
const ZEROS = Buffer.alloc(PAGE)

/** Blocks that a file of this size has. */
export function blocksOf(size: number): number {
  return Math.ceil(size / LIMITS.blockBytesMax)
}

/** How to ask for the nth block of a file; `row` is a leader's. */
export function blockRef(index: FlistIndex, row: number, nth: number): BlockRef {
  const { format, hashBytes } = index
  const at = ((index.first[row] ?? 0) + nth) * hashBytes
  return {
    format,
    id: index.ids.subarray(at, at + hashBytes),
    key: index.keys.subarray(at, at + hashBytes),
    plainBytes: Math.min(LIMITS.blockBytesMax, (index.size[row] ?? 0) - nth * LIMITS.blockBytesMax),
  }
}

/** What a content is written from, and how it is told. */
export interface ContentTools {
  readonly index: FlistIndex
  readonly supply: BlockSupply
  /** Bounds the blocks on their way, of all files together. */
  readonly slots: Slots
  readonly onBytes: (bytes: number) => void
  readonly signal: AbortSignal
}

/**
 * Writes the content of a file: its blocks as they come, zeros as holes. Throws what reading throws, FLIST_FILE_TRUNCATED where the
 * archive lacks blocks, and what writing throws.
 */
export async function writeContent(fd: number, row: number, tools: ContentTools): Promise<void> {
  const size = tools.index.size[row] ?? 0
  const count = tools.index.count[row] ?? 0
  const wanted = blocksOf(size)
  if (count < wanted) {
    throw new FlistError('FLIST_FILE_TRUNCATED', `Cannot restore the file: the archive lacks ${wanted - count} blocks`)
  }
  // All of it a hole: what is not written below stays one.
  ftruncateSync(fd, size)
  await writeBlocks(fd, row, Array(wanted).keys(), tools)
}

/** Writes these blocks of a file that has its size. Throws what reading and writing throw. */
export async function writeBlocks(
  fd: number,
  row: number,
  blocks: Iterable<number>,
  { index, supply, slots, onBytes, signal }: ContentTools,
): Promise<void> {
  const one = async (nth: number): Promise<void> => {
    try {
      const bytes = await supply.read(blockRef(index, row, nth), signal)
      writeSolid(fd, bytes, nth * LIMITS.blockBytesMax)
      onBytes(bytes.length)
      freeBytes(bytes)
    } finally {
      slots.give()
    }
  }
  let failure: unknown
  const running: Promise<void>[] = []
  for (const nth of blocks) {
    if (failure !== undefined) break
    await slots.take()
    running.push(one(nth).catch((error: unknown) => void (failure ??= error)))
    if (running.length >= LIMITS.unpackBlocksAtOnce) await running.shift()
  }
  await Promise.all(running)
  if (failure !== undefined) throw failure
}

/** Writes runs of pages that are not all zeros. Returns where the last one ends; 0 where all are. */
export function writeSolid(fd: number, bytes: Buffer, offset: number): number {
  let from = -1
  let written = 0
  for (let at = 0; at < bytes.length; at += PAGE) {
    const end = Math.min(at + PAGE, bytes.length)
    const isZero = bytes[at] === 0 && bytes.compare(ZEROS, 0, end - at, at, end) === 0
    if (!isZero && from < 0) from = at
    if (!isZero) written = offset + end
    if (isZero && from >= 0) {
      writeAll(fd, bytes.subarray(from, at), offset + from)
      from = -1
    }
  }
  if (from >= 0) writeAll(fd, bytes.subarray(from), offset + from)
  return written
}

function writeAll(fd: number, bytes: Buffer, offset: number): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, offset + at)
}

export function closeQuietly(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // Nothing was promised of it any more.
  }
}
