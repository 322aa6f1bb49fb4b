import { libc } from './late.ts'

/*
 * AES-256-GCM by the OpenSSL that Node has in it, without an object of Node's for each piece: those, and what the collector does with
 * them, are half of what it costs to decode a block of 4 KiB (docs/decisions/241).
 */

/** Bytes. */
export const GCM = { key: 32, nonce: 12, tag: 16 } as const

/** `EVP_CTRL_AEAD_GET_TAG`, `EVP_CTRL_AEAD_SET_TAG` of openssl/evp.h. */
const GET_TAG = 0x10
const SET_TAG = 0x11

/** One context each way; of one thread. */
export interface AesGcm {
  /** Deciphers `sealed`, its tag at the end, into the beginning of `into`. Bytes of it; -1 where the tag is another's. */
  open(key: Uint8Array, sealed: Uint8Array, into: Uint8Array): number
  /** Enciphers into the beginning of `into`, the tag behind. Bytes of it. The nonce is the key's beginning, as in `open`. */
  seal(key: Uint8Array, plain: Uint8Array, into: Uint8Array): number
}

let known: AesGcm | null | undefined

/** Undefined where Node does not give its OpenSSL to others, or it does not do what it should: `node:crypto` does. */
export function aesGcm(): AesGcm | undefined {
  if (known === undefined) known = load() ?? null
  return known ?? undefined
}

function load(): AesGcm | undefined {
  try {
    const found = declare()
    return isRight(found) ? found : undefined
  } catch {
    return undefined
  }
}

function declare(): AesGcm {
  const makeContext = libc.func('void *EVP_CIPHER_CTX_new()')
  const cipher = libc.func('void *EVP_aes_256_gcm()')() as unknown
  const clearErrors = libc.func('void ERR_clear_error()')
  const control = libc.func('int EVP_CIPHER_CTX_ctrl(void *context, int type, int bytes, uint8_t *tag)')
  const way = (name: string): { init: typeof control; update: typeof control; final: typeof control } => ({
    init: libc.func(
      `int EVP_${name}Init_ex(void *context, void *cipher, void *engine, const uint8_t *key, const uint8_t *nonce)`,
    ),
    update: libc.func(
      `int EVP_${name}Update(void *context, uint8_t *into, uint8_t *done, const uint8_t *bytes, int length)`,
    ),
    final: libc.func(`int EVP_${name}Final_ex(void *context, uint8_t *into, uint8_t *done)`),
  })
  const [opening, sealing] = [way('Decrypt'), way('Encrypt')]
  const [openContext, sealContext] = [makeContext() as unknown, makeContext() as unknown]
  opening.init(openContext, cipher, null, null, null)
  sealing.init(sealContext, cipher, null, null, null)
  const done = Buffer.alloc(4)
  const rest = Buffer.alloc(GCM.tag)
  return {
    open(key, sealed, into) {
      const bytes = sealed.length - GCM.tag
      if (key.length !== GCM.key || bytes < 0 || into.length < bytes) throw new RangeError('wrong lengths')
      const isOpen =
        opening.init(openContext, null, null, key, key) === 1 &&
        opening.update(openContext, into, done, sealed, bytes) === 1 &&
        control(openContext, SET_TAG, GCM.tag, sealed.subarray(bytes)) === 1 &&
        opening.final(openContext, rest, done) === 1
      if (!isOpen) clearErrors()
      return isOpen ? bytes : -1
    },
    seal(key, plain, into) {
      const bytes = plain.length
      if (key.length !== GCM.key || into.length < bytes + GCM.tag) throw new RangeError('wrong lengths')
      const isSealed =
        sealing.init(sealContext, null, null, key, key) === 1 &&
        sealing.update(sealContext, into, done, plain, bytes) === 1 &&
        sealing.final(sealContext, rest, done) === 1 &&
        control(sealContext, GET_TAG, GCM.tag, into.subarray(bytes)) === 1
      if (!isSealed) throw new Error('OpenSSL does not encipher')
      return bytes + GCM.tag
    },
  }
}

/** Test case 14 of the specification of GCM (McGrew and Viega): all zeros. */
const SEALED = Buffer.from('cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919', 'hex')

function isRight(found: AesGcm): boolean {
  const key = Buffer.alloc(GCM.key)
  const plain = Buffer.alloc(16)
  const into = Buffer.alloc(SEALED.length)
  if (found.seal(key, plain, into) !== SEALED.length || !into.equals(SEALED)) return false
  if (found.open(key, SEALED, into) !== plain.length || !into.subarray(0, plain.length).equals(plain)) return false
  const changed = Buffer.from(SEALED)
  changed.writeUInt8(changed.readUInt8(0) ^ 1, 0)
  return found.open(key, changed, into) === -1 && found.open(key, SEALED, into) === plain.length
}
