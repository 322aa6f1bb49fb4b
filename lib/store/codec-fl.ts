import { createCipheriv, createDecipheriv } from 'node:crypto'
import { LIMITS } from '../base/index.ts'
import { checkPlain, codecTools, corruptBlock, uncompressBlock } from './codec-tools.ts'
import type { EncodedBlock } from './codec.ts'
import type { BlockRef } from './port.ts'

// fl-v1-rfs.md section 2: P -> snappy -> AES-256-GCM under BLAKE2b-256(P), nonce = the key's first 12 bytes, tag at the end.
const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32
const PIECE_BYTES = 64 * 1024

/** Work space of one thread: filled and used up within one call. */
const opened = new Uint8Array(LIMITS.storedBlockBytesMax)

/**
 * Plain bytes of a stored fl block. The tag and BLAKE2b(plain) = key are the full check; BLAKE2b(stored) = id would add
 * nothing for a reader that has the key.
 */
export function decodeFl(ref: BlockRef, stored: Buffer): Buffer {
  if (ref.key.length !== KEY_BYTES) throw new RangeError(`A key of fl has ${KEY_BYTES} bytes, not ${ref.key.length}`)
  const sealed = stored.length - TAG_BYTES
  if (sealed < 1) throw corruptBlock(ref, `its stored form has only ${stored.length} bytes`)
  const decipher = createDecipheriv(CIPHER, ref.key, ref.key.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
  decipher.setAuthTag(stored.subarray(sealed))
  // In pieces that malloc keeps at hand: one fresh piece of 512 KiB costs more in page faults than its decryption.
  for (let at = 0; at < sealed; at += PIECE_BYTES) {
    opened.set(decipher.update(stored.subarray(at, Math.min(at + PIECE_BYTES, sealed))), at)
  }
  try {
    decipher.final()
  } catch (cause) {
    throw corruptBlock(ref, 'its stored form was changed', cause)
  }
  const plain = uncompressBlock(ref, opened.subarray(0, sealed))
  return checkPlain(ref, plain, codecTools().blake2b256(plain))
}

export function encodeFl(plain: Buffer): EncodedBlock {
  const { blake2b256, compress } = codecTools()
  const key = Buffer.from(blake2b256(plain))
  const cipher = createCipheriv(CIPHER, key, key.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
  const sealed = cipher.update(compress(plain))
  cipher.final()
  const stored = Buffer.concat([sealed, cipher.getAuthTag()])
  return { id: Buffer.from(blake2b256(stored)), key, stored }
}
