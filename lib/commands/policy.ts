import { parse, TomlError } from 'smol-toml'
import { FlistError } from '../base/index.ts'
import { openIndex } from '../flist/index.ts'
import { type CheckedSignature, parsePolicy, type Policy, refusal, wrongPolicy } from '../make/index.ts'
import { readSmall } from './key-files.ts'
import { type ArchiveReport } from './open-archive.ts'
import { checkedSignatures } from './signatures.ts'

/** An archive that is about to be mounted. */
export interface Asked {
  /** As typed, without secrets. */
  readonly name: string
  /** A local file. */
  readonly path: string
  /** The URL it came from. */
  readonly url?: URL | undefined
  readonly digest: string
  readonly indexPath: string
}

/** Throws FLIST_NOT_TRUSTED where one of the policies refuses the archive, FLIST_USAGE for a policy that is none. */
export async function obeyPolicies(
  files: readonly string[],
  archive: Asked,
  report: Pick<ArchiveReport, 'warn'>,
  signal: AbortSignal,
): Promise<void> {
  let checked: Promise<readonly CheckedSignature[]> | undefined
  const signatures = (): Promise<readonly CheckedSignature[]> => (checked ??= check(archive, report, signal))
  for (const policy of files.map(readPolicy)) {
    const why = await refusal(policy, archive.digest, signatures)
    if (why === undefined) continue
    throw new FlistError('FLIST_NOT_TRUSTED', `Cannot mount "${archive.name}": ${why}, says "${policy.file}"`, {
      hint: `Ask who keeps the policy, or sign the archive; its digest is sha256:${archive.digest}`,
    })
  }
}

function readPolicy(file: string): Policy {
  const text = readSmall(file, 'the policy')
  try {
    return parsePolicy(parse(text), file, (path) => readSmall(path, 'the keys'))
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const [what = ''] = error.message.split('\n')
    throw wrongPolicy(file, `line ${error.line}: ${what.replace(/^Invalid TOML document: /, '')}`, error)
  }
}

async function check(
  archive: Asked,
  report: Pick<ArchiveReport, 'warn'>,
  signal: AbortSignal,
): Promise<readonly CheckedSignature[]> {
  const index = openIndex(archive.indexPath, archive.digest)
  try {
    return await checkedSignatures({ ...archive, index }, report, signal)
  } finally {
    index.close()
  }
}
