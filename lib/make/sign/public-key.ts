import { createHash, createPublicKey, type KeyObject } from 'node:crypto'
import { FlistError } from '../../base/index.ts'
import { SshReader, sshString } from './ssh-wire.ts'

export const KEY_TYPE = 'ssh-ed25519'
export const KEY_BYTES = 32
/** Keys in one file. */
const KEYS_MAX = 4096
/** DER of a SubjectPublicKeyInfo with an ed25519 key before its 32 bytes, RFC 8410 section 4. */
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')
/** Types of keys that OpenSSH has and we cannot use. */
const OTHER_TYPE = /^(?:ssh-(?:rsa|dss|ed448)|ecdsa-sha2-\S+|sk-\S+|\S+-cert-v01@openssh\.com)$/

/** A key that signatures are checked with. */
export interface PublicKey {
  /** Base64 of its 32 bytes: how signatures name it. */
  readonly key: string
  /** What follows the key in its line; often a name. */
  readonly comment: string
}

/**
 * The ed25519 keys of a text: lines as ssh-keygen and authorized_keys have them, or PEM. Keys of other types are left out. `where` names the text
 * in messages. Throws FLIST_USAGE for a text that has none, or something else.
 */
export function parsePublicKeys(text: string, where: string): PublicKey[] {
  const keys: PublicKey[] = []
  let others = 0
  const lines = joinPem(text, where)
  for (const [nth, line] of lines.entries()) {
    const words = line.trim()
    if (words === '' || words.startsWith('#')) continue
    const [type = '', base64 = '', ...comment] = words.split(/\s+/)
    if (type === PEM_MARK) keys.push({ key: pemKey(base64, where), comment: '' })
    else if (OTHER_TYPE.test(type)) others += 1
    else keys.push({ key: lineKey(type, base64, `${where}, line ${nth + 1}`), comment: comment.join(' ') })
    if (keys.length > KEYS_MAX) throw wrong(where, `it has more than ${KEYS_MAX} keys`)
  }
  if (keys.length > 0) return keys
  throw wrong(where, others > 0 ? 'it has keys of other types only' : 'it has no key')
}

const PEM_MARK = '-----PEM'

/** A block of PEM becomes one line. */
function joinPem(text: string, where: string): string[] {
  if (/PRIVATE KEY-----/.test(text)) throw wrong(where, 'it is a private key')
  return text
    .replaceAll(/-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]*)-----END PUBLIC KEY-----/g, (_all, base64: string) => {
      const lines = base64.split('\n').length - 1
      return `${PEM_MARK} ${base64.replaceAll(/\s/g, '')}${'\n'.repeat(lines)}`
    })
    .split('\n')
}

function pemKey(base64: string, where: string): string {
  const der = Buffer.from(base64, 'base64')
  const isOurs =
    der.length === SPKI_PREFIX.length + KEY_BYTES && der.subarray(0, SPKI_PREFIX.length).equals(SPKI_PREFIX)
  if (isOurs) return der.subarray(SPKI_PREFIX.length).toString('base64')
  throw wrong(where, 'its PEM is no ed25519 key')
}

function lineKey(type: string, base64: string, where: string): string {
  if (type !== KEY_TYPE) throw wrong(where, `no line of a key begins with "${shown(type)}"`)
  const blob = Buffer.from(base64, 'base64')
  const reader = new SshReader(blob)
  const isOurs = reader.string()?.toString('latin1') === KEY_TYPE
  const key = isOurs ? reader.string() : undefined
  // Written otherwise than ssh-keygen does, two texts could be one key.
  if (key?.length === KEY_BYTES && reader.left === 0 && blob.toString('base64') === base64)
    return key.toString('base64')
  throw wrong(where, 'what follows the type is no such key')
}

/** Of a text that may hold anything. */
function shown(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}...` : text
}

function wrong(where: string, why: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot use ${where} as public keys: ${why}`, {
    hint: 'Give lines as ssh-keygen writes them, "ssh-ed25519 AAAA... name", or the PEM of an ed25519 key',
  })
}

/** The line of a key, as `ssh-keygen` writes it. */
export function publicKeyLine({ key, comment }: PublicKey): string {
  return [KEY_TYPE, sshBlob(key).toString('base64'), ...(comment === '' ? [] : [comment])].join(' ')
}

/** How `ssh-keygen -l` names it. */
export function fingerprint(key: string): string {
  return `SHA256:${createHash('sha256').update(sshBlob(key)).digest('base64').replace(/=+$/, '')}`
}

function sshBlob(key: string): Buffer {
  return Buffer.concat([sshString(KEY_TYPE), sshString(Buffer.from(key, 'base64'))])
}

/** For Node's crypto. */
export function publicKeyObject(key: string): KeyObject {
  const der = Buffer.concat([SPKI_PREFIX, Buffer.from(key, 'base64')])
  return createPublicKey({ key: der, format: 'der', type: 'spki' })
}
