import { checkPlain, codecTools, corruptBlock, uncompressBlock } from './codec-tools.ts'
import type { EncodedBlock } from './codec.ts'
import type { BlockRef } from './port.ts'
import { xxteaDecrypt, xxteaEncrypt } from './xxtea.ts'

const HASH_BYTES = 16

/** Plain bytes of a stored v1 block (flist-v1.md section 6). Both hashes are checked: XXTEA authenticates nothing. */
export function decodeV1(ref: BlockRef, stored: Buffer): Buffer {
  if (ref.key.length !== HASH_BYTES) throw new RangeError(`A key of v1 has ${HASH_BYTES} bytes, not ${ref.key.length}`)
  const { blake2b128 } = codecTools()
  if (!ref.id.equals(blake2b128(stored))) throw corruptBlock(ref, 'its stored form does not match its id')
  const packed = xxteaDecrypt(stored, ref.key)
  if (packed === undefined) throw corruptBlock(ref, 'its key does not open it')
  const plain = uncompressBlock(ref, packed)
  return checkPlain(ref, plain, blake2b128(plain))
}

export function encodeV1(plain: Buffer): EncodedBlock {
  const { blake2b128, compress } = codecTools()
  const key = Buffer.from(blake2b128(plain))
  const stored = xxteaEncrypt(compress(plain), key)
  return { id: Buffer.from(blake2b128(stored)), key, stored }
}
