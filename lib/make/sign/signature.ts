import { sign, verify } from 'node:crypto'
import { FlistError } from '../../base/index.ts'
import type { SigningKey } from './private-key.ts'
import { KEY_BYTES, publicKeyObject } from './public-key.ts'

/** One signature of a tree. */
export interface Signature {
  readonly alg: 'ed25519'
  /** Base64 of the public key's 32 bytes. */
  readonly key: string
  /** Base64 of 64 bytes: of the statement, RFC 8032. */
  readonly sig: string
}

export interface CheckedSignature extends Signature {
  readonly valid: boolean
}

const SIGNATURE_BYTES = 64
/** Of one archive: each costs a check. */
const SIGNATURES_MAX = 64
/** Bytes of them all as JSON. */
export const SIGNATURES_BYTES_MAX = 64 * 1024

/** The signatures in a tag or a file; `where` names it. Throws FLIST_ARCHIVE_DAMAGED for what is none. */
export function parseSignatures(text: string, where: string): Signature[] {
  if (text.length > SIGNATURES_BYTES_MAX) throw damaged(where, `they have more than ${SIGNATURES_BYTES_MAX} bytes`)
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch (cause) {
    throw damaged(where, 'they are no JSON', cause)
  }
  if (!Array.isArray(list) || list.length > SIGNATURES_MAX) {
    throw damaged(where, `they are no list of at most ${SIGNATURES_MAX}`)
  }
  const found = list.map((one: unknown) => {
    if (!isSignature(one)) throw damaged(where, 'one is no {"alg": "ed25519", "key", "sig"}')
    return { alg: one.alg, key: one.key, sig: one.sig }
  })
  if (new Set(found.map(({ key }) => key)).size < found.length) throw damaged(where, 'a key comes twice')
  return found
}

/** With other fields it would be of a later version, whose meaning is not known here. */
function isSignature(value: unknown): value is Signature {
  if (typeof value !== 'object' || value === null || Object.keys(value).length !== 3) return false
  const { alg, key, sig } = value as Record<string, unknown>
  return alg === 'ed25519' && isBase64(key, KEY_BYTES) && isBase64(sig, SIGNATURE_BYTES)
}

/** In the one way that writes these bytes. */
function isBase64(text: unknown, bytes: number): boolean {
  if (typeof text !== 'string') return false
  const decoded = Buffer.from(text, 'base64')
  return decoded.length === bytes && decoded.toString('base64') === text
}

function damaged(where: string, why: string, cause?: unknown): FlistError {
  return new FlistError('FLIST_ARCHIVE_DAMAGED', `Cannot read the signatures of ${where}: ${why}`, {
    hint: 'Sign it again: flistfs sign',
    cause,
  })
}

/** As the tag and the file beside an archive have them: the same signatures, the same text. */
export function signaturesText(signatures: readonly Signature[]): string {
  const sorted = signatures.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  return JSON.stringify(sorted.map(({ alg, key, sig }) => ({ alg, key, sig })))
}

/** The signatures with those of `keys`, in the place of older ones by the same keys. Throws FLIST_LIMIT. */
export function addSignatures(
  signatures: readonly Signature[],
  statement: string,
  keys: readonly SigningKey[],
): Signature[] {
  const all = new Map(signatures.map((one) => [one.key, one]))
  for (const { secret, key } of keys) {
    all.set(key, { alg: 'ed25519', key, sig: sign(null, Buffer.from(statement), secret).toString('base64') })
  }
  if (all.size <= SIGNATURES_MAX) return [...all.values()]
  throw new FlistError('FLIST_LIMIT', `Cannot sign: an archive has at most ${SIGNATURES_MAX} signatures`)
}

/** Says of each signature whether its key made it for this statement. */
export function checkSignatures(statement: string, signatures: readonly Signature[]): CheckedSignature[] {
  const bytes = Buffer.from(statement)
  return signatures.map((one) => ({
    ...one,
    valid: isValid(bytes, one),
  }))
}

function isValid(statement: Buffer, { key, sig }: Signature): boolean {
  try {
    return verify(null, statement, publicKeyObject(key), Buffer.from(sig, 'base64'))
  } catch {
    // 32 bytes that are no point of the curve.
    return false
  }
}
