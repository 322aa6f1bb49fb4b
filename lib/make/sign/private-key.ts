import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { FlistError } from '../../base/index.ts'
import { KEY_BYTES, KEY_TYPE } from './public-key.ts'
import { SshReader } from './ssh-wire.ts'

/** A key that signs. */
export interface SigningKey {
  readonly secret: KeyObject
  /** Its public half, base64 of 32 bytes. */
  readonly key: string
}

/** DER of a PKCS #8 private key of ed25519 before its 32 bytes, RFC 8410 section 7. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
/** PROTOCOL.key of OpenSSH. */
const OPENSSH_MAGIC = Buffer.from('openssh-key-v1\0', 'latin1')
const OPENSSH_PEM = /^-----BEGIN OPENSSH PRIVATE KEY-----\n([A-Za-z0-9+/=\n]+)-----END OPENSSH PRIVATE KEY-----$/
const PEM = /^-----BEGIN PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+-----END PRIVATE KEY-----$/
const PADDING_MAX = 255

/** An ed25519 key as OpenSSH or OpenSSL write it. `where` names it in messages, which say nothing of the key. Throws FLIST_USAGE. */
export function parsePrivateKey(text: string, where: string): SigningKey {
  const pem = text.replaceAll('\r\n', '\n').trim()
  const openssh = OPENSSH_PEM.exec(pem)?.[1]
  if (openssh !== undefined) return fromSeed(openSshSeed(Buffer.from(openssh, 'base64'), where))
  if (PEM.test(pem)) return fromPem(pem, where)
  if (pem.startsWith('-----BEGIN ENCRYPTED PRIVATE KEY-----')) throw encrypted(where, 'openssl pkey -in KEY -out COPY')
  if (/^(?:-----BEGIN PUBLIC KEY-----|ssh-)/.test(pem)) throw wrong(where, 'it is a public key')
  throw wrong(where, 'it is no private key that is known here')
}

function fromPem(pem: string, where: string): SigningKey {
  let secret: KeyObject
  try {
    secret = createPrivateKey({ key: pem, format: 'pem' })
  } catch {
    // What Node says might quote it.
    throw wrong(where, 'it is damaged')
  }
  if (secret.asymmetricKeyType !== 'ed25519')
    throw wrong(where, `it is of type ${secret.asymmetricKeyType ?? 'unknown'}`)
  return withPublic(secret)
}

export function fromSeed(seed: Buffer): SigningKey {
  return withPublic(createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' }))
}

function withPublic(secret: KeyObject): SigningKey {
  const der = createPublicKey(secret).export({ format: 'der', type: 'spki' })
  return { secret, key: der.subarray(der.length - KEY_BYTES).toString('base64') }
}

function openSshSeed(bytes: Buffer, where: string): Buffer {
  const reader = new SshReader(bytes)
  if (reader.take(OPENSSH_MAGIC.length)?.equals(OPENSSH_MAGIC) !== true) throw wrong(where, 'it is damaged')
  const cipher = reader.string()?.toString('latin1')
  const kdf = reader.string()?.toString('latin1')
  const kdfOptions = reader.string()
  if (cipher !== undefined && cipher !== 'none') throw encrypted(where, 'ssh-keygen -p -N "" -f COPY')
  if (kdf !== 'none' || kdfOptions?.length !== 0 || reader.u32() !== 1) throw wrong(where, 'it is damaged')
  const blob = reader.string()
  const section = reader.string()
  if (blob === undefined || section === undefined || reader.left !== 0) throw wrong(where, 'it is damaged')
  const type = new SshReader(blob).string()?.toString('latin1')
  if (type !== undefined && type !== KEY_TYPE) throw wrong(where, 'it is of another type than ed25519')
  const seed = seedIn(section)
  if (seed === undefined) throw wrong(where, 'it is damaged')
  return seed
}

/** Of the private section: two equal numbers, type, public key, secret (seed, then the public key again), comment, padding 1, 2, 3... */
function seedIn(section: Buffer): Buffer | undefined {
  const reader = new SshReader(section)
  const check = reader.u32()
  if (check === undefined || check !== reader.u32() || reader.string()?.toString('latin1') !== KEY_TYPE)
    return undefined
  const key = reader.string()
  const secret = reader.string()
  const comment = reader.string()
  if (key?.length !== KEY_BYTES || secret?.length !== 2 * KEY_BYTES || comment === undefined) return undefined
  const padding = reader.take(reader.left)
  if (padding === undefined || padding.length > PADDING_MAX || padding.some((byte, at) => byte !== at + 1))
    return undefined
  if (!secret.subarray(KEY_BYTES).equals(key)) return undefined
  const seed = secret.subarray(0, KEY_BYTES)
  // Halves that do not belong together would make signatures that give the key away.
  return fromSeed(seed).key === key.toString('base64') ? seed : undefined
}

function encrypted(where: string, command: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot use ${where} as a private key: it has a passphrase`, {
    hint: `Make a copy without one where nobody else reads it: ${command}`,
  })
}

function wrong(where: string, why: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot use ${where} as a private key: ${why}`, {
    hint: 'Give an ed25519 key: flistfs keygen FILE, or ssh-keygen -t ed25519',
  })
}
