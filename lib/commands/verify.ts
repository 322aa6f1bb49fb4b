import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { isatty } from 'node:tty'
import { FlistError } from '../base/index.ts'
import { compileArchive, openIndex } from '../flist/index.ts'
import { type BlockFault, checkBlocks, type CheckResult, packFolder } from '../make/index.ts'
import { openWholeStore, parseStoreRoute, type StoreRoute, type WholeStore } from '../store/index.ts'
import { type ArchiveReport, type ArchiveWords, openArchive, type OpenedArchive } from './open-archive.ts'
import { packing, showProgress } from './progress.ts'
import { reportSignatures, type SignatureReport } from './signatures.ts'

export interface VerifyRequest extends ArchiveWords {
  /** `[xx-xx=]URL`; empty: the archive's own routes. */
  readonly stores: readonly string[]
  /** How far to look: at the archive alone, for its blocks, or at their content. */
  readonly look: 'structure' | 'blocks' | 'deep'
  readonly repair: boolean
  /** More stores to take good blocks from, or folders with the files that the archive was made of. */
  readonly from: readonly string[]
  /** Files of public keys of which one must have signed; undefined: signatures are not looked at. */
  readonly signers: readonly string[] | undefined
}

export interface VerifyOutcome extends Partial<CheckResult> {
  readonly archive: string
  readonly digest: string
  readonly entries: number
  readonly stores: readonly string[]
  /** Present where signatures were looked at. */
  readonly signed?: SignatureReport
}

export type { BlockFault }

/** Checks an archive. Throws what reading a damaged archive throws, FLIST_USAGE, and what asking its stores throws. */
export async function verifyArchive(
  request: VerifyRequest,
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<VerifyOutcome> {
  using archive = await openArchive(request, report, signal)
  await checkStructure(archive, report, signal)
  const { index, name } = archive
  const { signers } = request
  const signed = signers === undefined ? {} : { signed: await reportSignatures(archive, signers, report, signal) }
  const base = { archive: name, digest: index.digest, entries: index.rowCount, ...signed }
  if (request.look === 'structure') return { ...base, stores: [] }
  const isOwn = request.stores.length > 0
  const baseDir = isOwn ? process.cwd() : archive.baseDir
  const routes: readonly StoreRoute[] = isOwn ? request.stores.map(parseStoreRoute) : index.routes
  if (routes.length === 0 && index.blockCount > 0) {
    throw new FlistError('FLIST_USAGE', `Cannot look for the blocks of "${name}": it names no store`, {
      hint: 'Name one with --store',
    })
  }
  await using opened = new AsyncDisposableStack()
  const open = async (route: StoreRoute, dir: string, trusted: boolean): Promise<WholeStore> =>
    opened.use(await openWholeStore(route, dir, trusted))
  const stores = await Promise.all(routes.map((route) => open(route, baseDir, isOwn)))
  const scratch = opened.adopt(mkdtempSync(join(tmpdir(), 'flistfs-verify-')), (dir) =>
    rmSync(dir, { recursive: true }),
  )
  const others = []
  for (const from of request.from) {
    others.push(
      await open(parseStoreRoute(await asStore(from, index.format, scratch, report, signal)), process.cwd(), true),
    )
  }
  const progress = showProgress(report.progress, 'Checking', isatty(2), name)
  try {
    const { repair } = request
    const check = { index, stores, deep: request.look === 'deep', repair, others, onProgress: progress.onProgress }
    const result = await checkBlocks(check, signal)
    return { ...base, stores: stores.map((store) => store.name), ...result }
  } finally {
    progress.end()
  }
}

/** The archive is read anew: an index that is there already says nothing of the file. */
async function checkStructure(
  { path, index, name }: OpenedArchive,
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-verify-'))
  const progress = showProgress(report.progress, 'Checking', isatty(2), name)
  try {
    const fresh = join(dir, 'index')
    // Rows of fl are names and blocks.
    const total = index.rowCount + (index.format === 'fl' ? index.blockCount : 0)
    const onProgress = progress.onRows && ((rows: number) => progress.onRows?.(rows, total))
    await compileArchive(path, fresh, { digest: index.digest, signal, onProgress })
    openIndex(fresh, index.digest).close()
  } finally {
    progress.end()
    rmSync(dir, { recursive: true, force: true })
  }
}

/** A folder of files becomes a store of their blocks, for as long as this takes. */
async function asStore(
  from: string,
  format: 'fl' | 'v1',
  scratch: string,
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<string> {
  if (/^(?:[0-9a-f]{2}-[0-9a-f]{2}=)?[a-z0-9+]+:/i.test(from)) return from
  if (statSync(from, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new FlistError('FLIST_NOT_FOUND', `Cannot repair from "${from}": it is no folder`, {
      hint: 'Name a store by its URL, or the folder the archive was made of',
    })
  }
  const url = `dir://${join(scratch, 'store')}`
  const stores = [{ start: 0, end: 255, url }]
  const archive = join(scratch, 'archive')
  const progress = showProgress(report.progress, 'Reading', isatty(2), from)
  const source = resolve(from)
  const request = { source, archive, format, stores, baseDir: scratch, onProgress: packing(progress) }
  await packFolder(request, signal).finally(() => progress.end())
  return url
}
