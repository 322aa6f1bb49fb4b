import { FlistError } from '../../base/index.ts'
import { parsePublicKeys } from './public-key.ts'
import type { CheckedSignature } from './signature.ts'

/** Which archives may be mounted. */
export interface Policy {
  /** The file, for messages. */
  readonly file: string
  readonly unsigned: boolean
  /** Base64 of 32 bytes each. */
  readonly keys: ReadonlySet<string>
  /** SHA-256 of archives, 64 hex digits each. */
  readonly digests: ReadonlySet<string>
  readonly revokedKeys: ReadonlySet<string>
  readonly revokedDigests: ReadonlySet<string>
}

/** Reads a file of public keys that a policy names. */
export type ReadKeys = (path: string) => string

const KNOWN: Readonly<Record<string, readonly string[]>> = {
  allow: ['keys', 'digests', 'unsigned'],
  revoke: ['keys', 'digests'],
}
const ENTRIES_MAX = 65_536

/**
 * A policy from what its TOML says. What is not known here is refused: a policy that is half understood is none, and one that allows nothing says
 * so. Throws FLIST_USAGE.
 */
export function parsePolicy(sections: Readonly<Record<string, unknown>>, file: string, readKeys: ReadKeys): Policy {
  for (const name of Object.keys(sections)) {
    if (!Object.hasOwn(KNOWN, name)) throw wrongPolicy(file, `"${name}" is not known`)
  }
  if (sections['allow'] === undefined) throw wrongPolicy(file, 'it has no [allow]')
  const allow = sectionOf(sections, 'allow', file)
  const revoke = sectionOf(sections, 'revoke', file)
  const { unsigned = false } = allow
  if (typeof unsigned !== 'boolean') throw wrongPolicy(file, '"unsigned" in [allow] is neither true nor false')
  return {
    file,
    unsigned,
    keys: keysOf(allow, 'allow', file, readKeys),
    digests: digestsOf(allow, 'allow', file),
    revokedKeys: keysOf(revoke, 'revoke', file, readKeys),
    revokedDigests: digestsOf(revoke, 'revoke', file),
  }
}

type Section = Readonly<Record<string, unknown>>

function sectionOf(sections: Section, name: string, file: string): Section {
  const section = sections[name] ?? {}
  if (typeof section !== 'object' || Array.isArray(section) || section instanceof Date) {
    throw wrongPolicy(file, `"${name}" is no section`)
  }
  for (const key of Object.keys(section)) {
    if (KNOWN[name]?.includes(key) !== true) throw wrongPolicy(file, `"${key}" in [${name}] is not known`)
  }
  return section as Section
}

function textsOf(section: Section, key: string, name: string, file: string): string[] {
  const list = section[key] ?? []
  const isList = Array.isArray(list) && list.length <= ENTRIES_MAX
  if (isList && list.every((one) => typeof one === 'string')) return list
  throw wrongPolicy(file, `"${key}" in [${name}] is no list of texts`)
}

function keysOf(section: Section, name: string, file: string, readKeys: ReadKeys): Set<string> {
  const keys = textsOf(section, 'keys', name, file).flatMap((entry) => {
    if (entry.startsWith('/')) return parsePublicKeys(readKeys(entry), `"${entry}"`)
    return parsePublicKeys(entry, `"keys" in [${name}] of "${file}"`)
  })
  return new Set(keys.map(({ key }) => key))
}

function digestsOf(section: Section, name: string, file: string): Set<string> {
  const digests = textsOf(section, 'digests', name, file).map((entry) => {
    const hex = /^sha256:([0-9a-f]{64})$/i.exec(entry)?.[1]
    if (hex === undefined)
      throw wrongPolicy(file, `"digests" in [${name}] has one that is not sha256: and 64 hex digits`)
    return hex.toLowerCase()
  })
  return new Set(digests)
}

export function wrongPolicy(file: string, why: string, cause?: unknown): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot use the policy "${file}": ${why}`, {
    hint: 'Write [allow] with keys, digests and unsigned, and [revoke] with keys and digests; see docs/signing.md',
    cause,
  })
}

/** What a policy must know of an archive's signatures to say yes or no. */
export type Signatures = () => Promise<readonly CheckedSignature[]>

/** Why an archive may not be mounted, or undefined where it may. The signatures are asked for only where they decide. */
export async function refusal(policy: Policy, digest: string, signatures: Signatures): Promise<string | undefined> {
  if (policy.revokedDigests.has(digest)) return 'its digest is revoked'
  if (policy.digests.has(digest)) return undefined
  if (policy.keys.size === 0 && !policy.unsigned) return 'its digest is not among those allowed'
  const found = await signatures()
  const good = found.filter(({ valid, key }) => valid && !policy.revokedKeys.has(key))
  if (good.some(({ key }) => policy.keys.has(key))) return undefined
  // Where anything may be mounted, what says to be of a lost key may not, nor what was changed after it was signed.
  if (found.some(({ key }) => policy.revokedKeys.has(key))) return 'a key that signed it is revoked'
  if (found.some(({ valid }) => !valid)) return 'its signature is wrong'
  if (policy.unsigned) return undefined
  return found.length === 0 ? 'it is not signed' : 'none of the keys that signed it is allowed'
}
