import { LIMITS } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import type { BlockRef, Place } from '../store/index.ts'

const BLOCK = LIMITS.blockBytesMax

/** Plain bytes of the nth block of a file. */
export function plainBytes(index: FlistIndex, row: number, nth: number): number {
  return Math.min(BLOCK, (index.size[row] ?? 0) - nth * BLOCK)
}

/** What names the nth block of a file. `ahead`: nobody waits for it yet. */
export function blockRef(index: FlistIndex, row: number, nth: number, ahead: boolean): BlockRef {
  const { format, hashBytes } = index
  const at = ((index.first[row] ?? 0) + nth) * hashBytes
  return {
    format,
    // Copies: the cache may keep them longer than the index is mapped.
    id: Buffer.from(index.ids.subarray(at, at + hashBytes)),
    key: Buffer.from(index.keys.subarray(at, at + hashBytes)),
    plainBytes: plainBytes(index, row, nth),
    ahead,
  }
}

/** Where the block goes in the cache; a small file's blocks have no place of their own. */
export function blockPlace(index: FlistIndex, row: number, nth: number): Place | undefined {
  const fileBytes = index.size[row] ?? 0
  if (fileBytes < LIMITS.ownSegmentBytesMin) return undefined
  return { file: `${index.digest}:${index.leader[row]}`, offset: nth * BLOCK, fileBytes }
}
