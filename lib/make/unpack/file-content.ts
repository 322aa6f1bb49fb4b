import { closeSync, ftruncateSync, writeSync } from 'node:fs'
import { FlistError, LIMITS } from '../../base/index.ts'
import type { FlistIndex } from '../../flist/index.ts'
import type { BlockRef } from '../../store/index.ts'
import type { Slots } from './slots.ts'

/** Blocks as the caller reads them: from a cache, or a store. */
export interface BlockSupply {
  read(ref: BlockRef, signal: AbortSignal): Promise<Buffer>
}

const PAGE = 4096
const ZEROS = Buffer.alloc(PAGE)

/**
 * Writes the content of a file: its blocks as they come, zeros as holes. `slots` bounds the blocks on their way, of all files
 * together. Throws what reading throws, FLIST_FILE_TRUNCATED where the archive lacks blocks, and what writing throws.
 */
export async function writeContent(
  fd: number,
  index: FlistIndex,
  row: number,
  supply: BlockSupply,
  slots: Slots,
  onBytes: (bytes: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const { format, hashBytes } = index
  const size = index.size[row] ?? 0
  const first = index.first[row] ?? 0
  const count = index.count[row] ?? 0
  const wanted = Math.ceil(size / LIMITS.blockBytesMax)
  if (count < wanted) {
    throw new FlistError('FLIST_FILE_TRUNCATED', `Cannot restore the file: the archive lacks ${wanted - count} blocks`)
  }
  // All of it a hole: what is not written below stays one.
  ftruncateSync(fd, size)
  const one = async (nth: number): Promise<void> => {
    const offset = nth * LIMITS.blockBytesMax
    const at = (first + nth) * hashBytes
    const ref = {
      format,
      id: index.ids.subarray(at, at + hashBytes),
      key: index.keys.subarray(at, at + hashBytes),
      plainBytes: Math.min(LIMITS.blockBytesMax, size - offset),
    }
    try {
      const bytes = await supply.read(ref, signal)
      writeSolid(fd, bytes, offset)
      onBytes(bytes.length)
    } finally {
      slots.give()
    }
  }
  let failure: unknown
  const running: Promise<void>[] = []
  for (let nth = 0; nth < wanted && failure === undefined; nth += 1) {
    await slots.take()
    running.push(one(nth).catch((error: unknown) => void (failure ??= error)))
    if (running.length >= LIMITS.unpackBlocksAtOnce) await running.shift()
  }
  await Promise.all(running)
  if (failure !== undefined) throw failure
}

/** Writes runs of pages that are not all zeros. */
function writeSolid(fd: number, bytes: Buffer, offset: number): void {
  let from = -1
  for (let at = 0; at < bytes.length; at += PAGE) {
    const end = Math.min(at + PAGE, bytes.length)
    const isZero = bytes.compare(ZEROS, 0, end - at, at, end) === 0
    if (!isZero && from < 0) from = at
    if (isZero && from >= 0) {
      writeAll(fd, bytes.subarray(from, at), offset + from)
      from = -1
    }
  }
  if (from >= 0) writeAll(fd, bytes.subarray(from), offset + from)
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
