import { LIMITS } from '../base/index.ts'
import { decodeFl, encodeFl } from './codec-fl.ts'
import { corruptBlock } from './codec-tools.ts'
import { decodeV1, encodeV1 } from './codec-v1.ts'
import type { BlockFormat, BlockRef } from './port.ts'

/** A block as it goes to a store. */
export interface EncodedBlock {
  readonly id: Buffer
  readonly key: Buffer
  readonly stored: Buffer
}

/**
 * Plain, fully checked bytes of a stored block; `prepareCodec()` first. Throws FLIST_BLOCK_CORRUPT where the bytes are not
 * what `ref` names, FLIST_FILE_TRUNCATED where they are but the file needs another length.
 */
export function decodeBlock(ref: BlockRef, stored: Buffer): Buffer {
  if (stored.length > LIMITS.storedBlockBytesMax) throw corruptBlock(ref, 'its stored form is too large')
  return ref.format === 'fl' ? decodeFl(ref, stored) : decodeV1(ref, stored)
}

/** `plain` (1 to `LIMITS.blockBytesMax` bytes) as the reference writers store it; `prepareCodec()` first. */
export function encodeBlock(format: BlockFormat, plain: Buffer): EncodedBlock {
  if (plain.length < 1 || plain.length > LIMITS.blockBytesMax) {
    throw new RangeError(`A block has 1 to ${LIMITS.blockBytesMax} bytes, not ${plain.length}`)
  }
  return format === 'fl' ? encodeFl(plain) : encodeV1(plain)
}
