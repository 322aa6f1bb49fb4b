import { LIMITS } from '../../base/index.ts'

/**
 * Whether a file is short of blocks in the way of zflist's fault: it counted them with the size rounded to a 32-bit float
 * (0-flist `libflist/zero_chunk.c`), so the last, nearly empty block of some files above 16 MiB was never stored.
 */
export function isFloatRounding(size: number, blockCount: number): boolean {
  if (blockCount >= Math.ceil(size / LIMITS.blockBytesMax)) return false
  // The divisor is a power of two: only the conversion rounds.
  return blockCount === Math.ceil(Math.fround(size) / LIMITS.blockBytesMax)
}
