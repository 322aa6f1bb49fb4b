import { createCipheriv, createDecipheriv, createSecretKey } from 'node:crypto'
import { LIMITS } from '../base/index.ts'
import { aesGcm, GCM } from '../system/index.ts'
import { checkPlain, codecTools, corruptBlock, uncompressBlock } from './codec-tools.ts'
import type { EncodedBlock } from './codec.ts'
import type { BlockRef } from './port.ts'
import { freeBytes } from './spent.ts'

// fl-v1-rfs.md section 2: P -> snappy -> AES-256-GCM under BLAKE2b-256(P), nonce = the key's first 12 bytes, tag at the end.
const CIPHER = 'aes-256-gcm'

/** Work space of one thread for what lies between the cipher and snappy: nothing runs between filling it and its last use. */
let scratch: Buffer | undefined

/**
 * Plain bytes of a stored fl block. The tag and BLAKE2b(plain) = key are the full check; BLAKE2b(stored) = id would add
 * nothing for a reader that has the key.
 */
export function decodeFl(ref: BlockRef, stored: Buffer): Buffer {
  if (ref.key.length !== GCM.key) throw new RangeError(`A key of fl has ${GCM.key} bytes, not ${ref.key.length}`)
  const sealed = stored.length - GCM.tag
  if (sealed < 1) throw corruptBlock(ref, `its stored form has only ${stored.length} bytes`)
  const cipher = aesGcm()
  if (cipher === undefined) return decodeSlowly(ref, stored)
  scratch ??= Buffer.allocUnsafeSlow(LIMITS.storedBlockBytesMax)
  if (cipher.open(ref.key, stored, scratch) < 0) throw corruptBlock(ref, 'its stored form was changed')
  const plain = uncompressBlock(ref, scratch.subarray(0, sealed))
  return checkPlain(ref, plain, codecTools().blake2b256(plain))
}

/** The same by `node:crypto`. */
export function decodeSlowly(ref: BlockRef, stored: Buffer): Buffer {
  const sealed = stored.length - GCM.tag
  // A key object: from bytes Node makes one by a way that takes 20 us more.
  const key = createSecretKey(ref.key)
  const decipher = createDecipheriv(CIPHER, key, ref.key.subarray(0, GCM.nonce), { authTagLength: GCM.tag })
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
  const compressed = compress(plain)
  const stored = seal(key, compressed)
  freeBytes(compressed)
  return { id: Buffer.from(blake2b256(stored)), key, stored }
}

function seal(key: Buffer, compressed: Buffer): Buffer {
  const cipher = aesGcm()
  if (cipher === undefined) return sealSlowly(key, compressed)
  const stored = Buffer.allocUnsafe(compressed.length + GCM.tag)
  cipher.seal(key, compressed, stored)
  return stored
}

/** The same by `node:crypto`. */
export function sealSlowly(key: Buffer, compressed: Buffer): Buffer {
  const nonce = key.subarray(0, GCM.nonce)
  const cipher = createCipheriv(CIPHER, createSecretKey(key), nonce, { authTagLength: GCM.tag })
  const sealed = cipher.update(compressed)
  cipher.final()
  const stored = Buffer.concat([sealed, cipher.getAuthTag()])
  freeBytes(sealed)
  return stored
}
