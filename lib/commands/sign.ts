import { generateKeyPairSync } from 'node:crypto'
import { existsSync, linkSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { resolve } from 'node:path'
import { FlistError, systemCode, systemReason } from '../base/index.ts'
import { hashArchive, signedStatement, writeArchive } from '../flist/index.ts'
import {
  addSignatures,
  fingerprint,
  parsePrivateKey,
  parseSignatures,
  publicKeyLine,
  signaturesText,
  signTree,
  treeOf,
} from '../make/index.ts'
import { TemporaryFile } from '../system/index.ts'
import { outputOf, routesFor } from './edit.ts'
import { readSigningKeys, readSmall } from './key-files.ts'
import { type ArchiveReport, type ArchiveWords, openArchive, type OpenedArchive } from './open-archive.ts'
import { SIGNATURE_FILE } from './signatures.ts'

export interface SignRequest extends ArchiveWords {
  /** Files of private keys. */
  readonly keys: readonly string[]
  /** Into a file beside the archive, which stays as it is. */
  readonly detached: boolean
  /** Where the result goes; undefined: in the place of the archive, or beside it. */
  readonly output: string | undefined
}

export interface SignOutcome {
  /** What was written. */
  readonly file: string
  /** SHA-256 of the signed archive. */
  readonly digest: string
  /** Fingerprints of the keys that signed now. */
  readonly keys: readonly string[]
}

/** Signs an archive that is there. Signatures of other keys stay. Throws FLIST_USAGE and what writing an archive throws. */
export async function signArchive(
  request: SignRequest,
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<SignOutcome> {
  const keys = readSigningKeys(request.keys)
  using archive = await openArchive(request, report, signal)
  const fingerprints = keys.map(({ key }) => fingerprint(key))
  if (request.detached) {
    const file = outputOf(archive, request.archive, request.output ?? besideOf(archive, request.archive))
    const old = existsSync(file) ? parseSignatures(readSmall(file, 'the signatures'), `"${file}"`) : []
    publish(file, `${signaturesText(addSignatures(old, signedStatement(archive.index), keys))}\n`)
    return { file, digest: archive.index.digest, keys: fingerprints }
  }
  const file = outputOf(archive, request.archive, request.output)
  const tree = treeOf(archive.index)
  tree.routes = routesFor(archive, file)
  // A name of an owner would be this machine's: the archive has numbers only.
  const options = { signal, numericOwner: true }
  await signTree(tree, keys, options)
  try {
    await writeArchive(tree, file, options)
  } catch (error) {
    if (error instanceof FlistError || systemCode(error) === '') throw error
    throw unwritable(file, error)
  }
  return { file, digest: await hashArchive(file, signal), keys: fingerprints }
}

/** Undefined for an archive that was fetched: then a name is wanted. */
function besideOf({ path }: OpenedArchive, typed: string): string | undefined {
  return resolve(typed) === path ? path + SIGNATURE_FILE : undefined
}

export interface MadeKey {
  readonly file: string
  readonly publicFile: string
  readonly fingerprint: string
  /** The line of the public key. */
  readonly publicKey: string
}

/** Makes a key: FILE, which only its owner may read, and FILE.pub. What is there is never replaced. Throws FLIST_USAGE, FLIST_SYSTEM. */
export function makeKey(name: string, comment: string | undefined): MadeKey {
  if (comment !== undefined && /[^ -~\u00a0-\uffff]/.test(comment)) {
    throw new FlistError('FLIST_USAGE', 'Cannot write that comment: it stands in a line of text', {
      hint: 'Leave out newlines and other control characters',
    })
  }
  const file = resolve(name)
  const publicFile = `${file}.pub`
  const pem = generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  const { key } = parsePrivateKey(pem, `"${file}"`)
  const line = publicKeyLine({ key, comment: comment ?? userName() })
  create(publicFile, `${line}\n`, 0o644)
  try {
    create(file, pem, 0o600)
  } catch (error) {
    rmSync(publicFile)
    throw error
  }
  return { file, publicFile, fingerprint: fingerprint(key), publicKey: line }
}

function userName(): string {
  try {
    return userInfo().username.replaceAll(/\s/g, '')
  } catch {
    // A number without a name.
    return ''
  }
}

/** A file that was not there, whole at once. */
function create(file: string, text: string, mode: number): void {
  const temporary = `${file}.${process.pid}.tmp`
  try {
    writeFileSync(temporary, text, { flag: 'wx', mode, flush: true })
    linkSync(temporary, file)
  } catch (cause) {
    if (systemCode(cause) !== 'EEXIST') throw unwritable(file, cause)
    throw new FlistError('FLIST_USAGE', `Cannot write "${file}": it is there already`, {
      hint: 'Give another name: keys are not written over',
      cause,
    })
  } finally {
    rmSync(temporary, { force: true })
  }
}

function publish(file: string, text: string): void {
  try {
    using temporary = new TemporaryFile(file)
    writeFileSync(temporary.fd, text)
    temporary.publish()
  } catch (cause) {
    throw cause instanceof FlistError ? cause : unwritable(file, cause)
  }
}

function unwritable(file: string, cause: unknown): FlistError {
  return new FlistError('FLIST_SYSTEM', `Cannot write "${file}": ${systemReason(cause)}`, {
    hint: 'Name a place that you may write to',
    cause,
  })
}
