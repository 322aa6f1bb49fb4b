import { createHash, type Hash } from 'node:crypto'
import { FlistError } from '../base/index.ts'
import { imageDamaged } from './image-error.ts'

const HEX_DIGITS: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 }

/** `sha256:HEX` as it stands in a manifest, checked. */
export type Digest = `${string}:${string}`

export function isDigest(text: unknown): text is Digest {
  if (typeof text !== 'string') return false
  const [, algorithm = '', hex = ''] = /^([a-z0-9]+):([0-9a-f]+)$/.exec(text) ?? []
  return hex.length > 0 && hex.length === HEX_DIGITS[algorithm]
}

/** Throws FLIST_IMAGE_DAMAGED for what is no digest that we can check. */
export function checkDigest(text: unknown, what: string): Digest {
  if (!isDigest(text)) throw imageDamaged(what, 'it has no sha256, sha384 or sha512 digest')
  return text
}

export function hasherOf(digest: Digest): Hash {
  return createHash(digest.slice(0, digest.indexOf(':')))
}

export function digestOf(bytes: Uint8Array, like: Digest = 'sha256:'): Digest {
  const algorithm = like.slice(0, like.indexOf(':'))
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

export function digestMismatch(what: string): FlistError {
  return new FlistError('FLIST_DIGEST_MISMATCH', `Cannot use ${what}: its bytes are not those of its digest`, {
    hint: 'Fetch the image again; where it comes from may be damaged, or is not to be trusted',
  })
}

/** Passes the bytes on and checks them at their end: the digest, and the size where it is known. */
export async function* checked(
  source: AsyncIterable<Uint8Array>,
  digest: Digest,
  size: number | undefined,
  what: string,
): AsyncGenerator<Buffer, void, undefined> {
  const hash = hasherOf(digest)
  let bytes = 0
  for await (const piece of source as AsyncIterable<Buffer>) {
    bytes += piece.length
    if (size !== undefined && bytes > size) throw digestMismatch(what)
    hash.update(piece)
    yield piece
  }
  if ((size !== undefined && bytes !== size) || !digest.endsWith(`:${hash.digest('hex')}`)) throw digestMismatch(what)
}
