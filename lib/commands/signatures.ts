import { existsSync } from 'node:fs'
import { type FlistIndex, SIGNATURE_TAG, signedStatement } from '../flist/index.ts'
import {
  checkSignatures,
  type CheckedSignature,
  fingerprint,
  parseSignatures,
  type Signature,
  SIGNATURES_BYTES_MAX,
} from '../make/index.ts'
import { fetchBeside } from '../store/index.ts'
import { readPublicKeys, readSmall } from './key-files.ts'
import type { ArchiveReport } from './open-archive.ts'

/** What signatures are looked for in. */
export interface SignedArchive {
  readonly index: FlistIndex
  readonly name: string
  /** A local file. */
  readonly path: string
  /** The URL it came from. */
  readonly url?: URL | undefined
}

/** The end of the name of a file with signatures, beside the archive. */
export const SIGNATURE_FILE = '.sig'

/** All signatures of an archive, in it and beside it, checked. Throws FLIST_ARCHIVE_DAMAGED for what is no list of them. */
export async function checkedSignatures(
  archive: SignedArchive,
  report: Pick<ArchiveReport, 'warn'>,
  signal: AbortSignal,
): Promise<CheckedSignature[]> {
  const { index, name, path, url } = archive
  const found: Signature[] = []
  const tag = index.tags[SIGNATURE_TAG]
  if (tag !== undefined) found.push(...parseSignatures(tag, `"${name}"`))
  const beside = url === undefined ? localText(path) : await remoteText(url, report, signal)
  if (beside !== undefined) found.push(...parseSignatures(beside, `"${name}${SIGNATURE_FILE}"`))
  if (found.length === 0) return []
  const checked = checkSignatures(signedStatement(index), found)
  // One key may have signed in both places: the one that holds counts.
  const best = new Map<string, CheckedSignature>()
  for (const one of checked) if (best.get(one.key)?.valid !== true) best.set(one.key, one)
  return [...best.values()]
}

async function remoteText(
  url: URL,
  report: Pick<ArchiveReport, 'warn'>,
  signal: AbortSignal,
): Promise<string | undefined> {
  const warn = (message: string): void => report.warn(message)
  const text = await fetchBeside(url, SIGNATURE_FILE, SIGNATURES_BYTES_MAX, warn, signal)
  // Some servers answer every address with a page.
  return text?.startsWith('[') === true ? text : undefined
}

function localText(path: string): string | undefined {
  return existsSync(path + SIGNATURE_FILE) ? readSmall(path + SIGNATURE_FILE, 'the signatures') : undefined
}

export interface SignatureReport {
  readonly signatures: readonly {
    readonly fingerprint: string
    /** Base64 of the key's 32 bytes. */
    readonly key: string
    /** What the file of keys says of it, where one was given that has it. */
    readonly name?: string
    readonly valid: boolean
  }[]
  /** None is wrong, and where keys were asked for one of them signed. */
  readonly good: boolean
}

/** Who signed an archive. `signers` are files of public keys of which one must have; none: whoever. Throws FLIST_USAGE. */
export async function reportSignatures(
  archive: SignedArchive,
  signers: readonly string[],
  report: Pick<ArchiveReport, 'warn'>,
  signal: AbortSignal,
): Promise<SignatureReport> {
  const names = new Map(readPublicKeys(signers).map(({ key, comment }) => [key, comment]))
  const signatures = (await checkedSignatures(archive, report, signal)).map(({ key, valid }) => {
    const name = names.get(key)
    return { fingerprint: fingerprint(key), key, ...(name === undefined ? {} : { name }), valid }
  })
  const isWanted = names.size === 0 || signatures.some(({ key, valid }) => valid && names.has(key))
  return { signatures, good: isWanted && signatures.every(({ valid }) => valid) }
}
