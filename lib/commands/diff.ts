import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isatty } from 'node:tty'
import { type Log, shownPath } from '../base/index.ts'
import { type Change, type Difference, diffIndexes, type FlistIndex, locateIndex, openIndex } from '../flist/index.ts'
import { packFolder } from '../make/index.ts'
import { fileBytes } from './cat.ts'
import { type ArchiveReport, type ArchiveWords, openArchive } from './open-archive.ts'
import { type ContentWords, openContent } from './open-content.ts'
import { packing, showProgress } from './progress.ts'

export interface DiffRequest {
  /** Archives or folders; one of the two at least is an archive. */
  readonly before: ArchiveWords
  readonly after: ArchiveWords
  readonly ignore: ReadonlySet<Difference>
  /** Where content comes from when keys cannot tell. */
  readonly content: ContentWords
}

export interface DiffCounts {
  added: number
  removed: number
  changed: number
  /** How many of the changed differ in it. */
  readonly differences: Partial<Record<Difference, number>>
}

/** A change as JSON has it. */
export interface ChangeEntry {
  readonly path: string
  readonly pathHex?: string
  readonly change: Change['change']
  readonly differences: readonly Difference[]
}

interface Side extends Disposable {
  readonly index: FlistIndex
  readonly baseDir: string
  readonly cacheDir: string
}

/**
 * Compares two trees, each an archive or a folder, and calls `emit` for each entry that differs. A folder is hashed, not copied. Throws
 * FLIST_NOT_FOUND and what opening an archive or reading a folder throws.
 */
export async function diffTrees(
  request: DiffRequest,
  report: ArchiveReport,
  emit: (change: Change) => void,
  log: Log,
  signal: AbortSignal,
): Promise<DiffCounts> {
  const { before, after, ignore } = request
  const formatOf = async (words: ArchiveWords): Promise<Side | undefined> =>
    isFolderName(words.archive) ? undefined : openArchive(words, report, signal)
  using stack = new DisposableStack()
  const [archiveA, archiveB] = [await formatOf(before), await formatOf(after)]
  for (const side of [archiveA, archiveB]) if (side !== undefined) stack.use(side)
  const format = (archiveA ?? archiveB)?.index.format ?? 'fl'
  const a = archiveA ?? stack.use(await indexFolder(before, format, report, signal))
  const b = archiveB ?? stack.use(await indexFolder(after, format, report, signal))
  const counts: DiffCounts = { added: 0, removed: 0, changed: 0, differences: {} }
  const sameContent = contentComparer(a, b, request.content, log, signal)
  for await (const change of diffIndexes(a.index, b.index, { ignore, sameContent })) {
    signal.throwIfAborted()
    counts[change.change] += 1
    for (const what of change.differences) counts.differences[what] = (counts.differences[what] ?? 0) + 1
    emit(change)
  }
  return counts
}

function isFolderName(name: string): boolean {
  return statSync(name, { throwIfNoEntry: false })?.isDirectory() ?? false
}

/** The index of a folder as if it had been packed: same cuts, same keys, and no block is stored. */
async function indexFolder(
  { archive: source }: ArchiveWords,
  format: 'fl' | 'v1',
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<Side> {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-diff-'))
  const progress = showProgress(report.progress, 'Reading', isatty(2), source)
  try {
    const archive = join(dir, 'folder')
    const request = { source, archive, format, stores: [], baseDir: dir, onProgress: packing(progress) }
    const packed = await packFolder(request, signal)
    const { indexPath, digest } = await locateIndex(archive, { cacheDir: dir, digest: packed.digest }, signal)
    const index = openIndex(indexPath, digest)
    return { index, baseDir: dir, cacheDir: dir, [Symbol.dispose]: () => index.close() }
  } finally {
    progress.end()
    // What is mapped stays readable.
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Archives of two formats name content by different hashes: both are read then. */
function contentComparer(
  a: Side,
  b: Side,
  words: ContentWords,
  log: Log,
  signal: AbortSignal,
): (before: number, after: number) => Promise<boolean> {
  const digest = async (side: Side, row: number): Promise<string> => {
    await using content = await openContent(side, words, log)
    const hash = createHash('sha256')
    for await (const bytes of fileBytes(side.index, row, content, signal)) hash.update(bytes)
    return hash.digest('hex')
  }
  return async (before, after) => (await digest(a, before)) === (await digest(b, after))
}

export function changeEntry({ path, change, differences }: Change): ChangeEntry {
  return { ...shownPath(path), change, differences }
}
export { DIFFERENCES } from '../flist/index.ts'
export type { Difference } from '../flist/index.ts'
