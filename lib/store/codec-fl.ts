import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto'
import { checkPlain, codecTools, corruptBlock, uncompressBlock } from './codec-tools.ts'
import type { EncodedBlock } from './codec.ts'
import type { BlockRef } from './port.ts'
import { freeBytes } from './spent.ts'

// fl-v1-rfs.md section 2: P -> snappy -> AES-256-GCM under BLAKE2b-256(P), nonce = the key's first 12 bytes, tag at the end.
const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16
const KEY_BYTES = 32

/**
 * Plain bytes of a stored fl block. The tag and BLAKE2b(plain) = key are the full check; BLAKE2b(stored) = id would add
 * nothing for a reader that has the key.
 */
export function decodeFl(ref: BlockRef, stored: Buffer): Buffer {
  if (ref.key.length !== KEY_BYTES) throw new RangeError(`A key of fl has ${KEY_BYTES} bytes, not ${ref.key.length}`)
  const sealed = stored.length - TAG_BYTES
  if (sealed < 1) throw corruptBlock(ref, `its stored form has only ${stored.length} bytes`)
  // A key object: from bytes Node makes one by a way that takes 20 us more.
  const key = createSecretKey(ref.key)
  const decipher = createDecipheriv(CIPHER, key, ref.key.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
  decipher.setAuthTag(stored.subarray(sealed))
  const opened = decipher.update(stored.subarray(0, sealed))
  try {
    decipher.final()
  } catch (cause) {
    throw corruptBlock(ref, 'its stored form was changed', cause)
  }
  const plain = uncompressBlock(ref, opened)
  freeBytes(opened)
  return checkPlain(ref, plain, codecTools().blake2b256(plain))
}

export function encodeFl(plain: Buffer): EncodedBlock {
  const { blake2b256, compress } = codecTools()
  const key = Buffer.from(blake2b256(plain))
  const nonce = key.subarray(0, NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, createSecretKey(key), nonce, { authTagLength: TAG_BYTES })
  const compressed = compress(plain)
  const sealed = cipher.update(compressed)
  freeBytes(compressed)
  cipher.final()
  const stored = Buffer.concat([sealed, cipher.getAuthTag()])
  freeBytes(sealed)
  return { id: Buffer.from(blake2b256(stored)), key, stored }
}
