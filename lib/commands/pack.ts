import { stat } from 'node:fs/promises'
import { isatty } from 'node:tty'
import { FlistError } from '../base/index.ts'
import type { PackResult } from '../make/index.ts'
import { type ArchiveReport, openArchive } from './open-archive.ts'
import { parseStoreRoute, type BlockFormat } from '../store/index.ts'
import { readSigningKeys } from './key-files.ts'
import { ownerId, timeOf } from './pack-values.ts'
import { packing, showProgress } from './progress.ts'

export type { PackResult }

export interface PackWords {
  /** A folder, a tar, or `-` for a tar on standard input. */
  readonly source: string
  readonly archive: string
  readonly format: BlockFormat
  /** `[xx-xx=]URL`. */
  readonly stores: readonly string[]
  readonly keepPassword: boolean
  /** An older archive, as every verb takes one. */
  readonly base: string | undefined
  readonly cacheDir: string | undefined
  readonly hub: string | undefined
  readonly exclude: readonly string[]
  /** As in tar: a name, a number, or `name:number`. */
  readonly owner: string | undefined
  readonly group: string | undefined
  /** As in tar: a time, or the path of a file that has it. */
  readonly mtime: string | undefined
  readonly numericOwner: boolean
  readonly oneFileSystem: boolean
  readonly follow: boolean
  readonly sync: boolean
  readonly threads: number | undefined
  /** Files of private keys that sign the archive. */
  readonly sign: readonly string[]
}

/** Packs a folder or a tar into an archive and its blocks into stores. Throws what that throws; see `packFolder`. */
export async function pack(words: PackWords, report: ArchiveReport, signal: AbortSignal): Promise<PackResult> {
  const { stores, base, cacheDir, hub, owner, group, mtime, sign, ...rest } = words
  if (stores.length === 0) {
    throw new FlistError('FLIST_USAGE', 'Cannot pack without a store for the blocks', {
      hint: 'Name one or more: --store dir:///srv/blocks',
    })
  }
  const isTar = words.source === '-' || (await isFile(words.source))
  if (isTar) refuseForTar(words)
  const keys = readSigningKeys(sign)
  const { packFolder, packTar } = await import('../make/index.ts')
  const opened = base === undefined ? undefined : await openArchive({ archive: base, cacheDir, hub }, report, signal)
  const progress = showProgress(report.progress, 'Packing', isatty(2), words.source)
  try {
    const request = {
      ...rest,
      sign: keys,
      stores: stores.map(parseStoreRoute),
      baseDir: process.cwd(),
      keepSecrets: words.keepPassword,
      uid: owner === undefined ? undefined : ownerId(owner, 'user'),
      gid: group === undefined ? undefined : ownerId(group, 'group'),
      time: mtime === undefined ? undefined : timeOf(mtime),
      onProgress: packing(progress),
    }
    if (isTar) return await packTar(request, signal)
    const older = opened === undefined ? undefined : { index: opened.index, madeAt: await modifiedAt(opened.path) }
    return await packFolder({ ...request, base: older }, signal)
  } finally {
    progress.end()
    opened?.[Symbol.dispose]()
  }
}

/** What is neither there nor a folder is for the reader of tars to complain of. */
async function isFile(path: string): Promise<boolean> {
  const about = await stat(path).catch(() => undefined)
  return about !== undefined && !about.isDirectory()
}

function refuseForTar({ base, follow, oneFileSystem }: PackWords): void {
  const no = (word: string, why: string, hint: string): FlistError =>
    new FlistError('FLIST_USAGE', `Cannot use ${word} with a tar: ${why}`, { hint })
  if (base !== undefined) {
    const why = 'it does not say when a file was changed last, so none is known to be as it was'
    throw no('--base', why, 'Leave it out: blocks that the stores have are not sent again')
  }
  const word = follow ? '--follow' : oneFileSystem ? '--one-file-system' : undefined
  if (word !== undefined) throw no(word, 'what is in it was chosen when it was made', 'Leave it out, or give it to tar')
}

async function modifiedAt(path: string): Promise<number> {
  return Math.floor((await stat(path)).mtimeMs / 1000)
}
