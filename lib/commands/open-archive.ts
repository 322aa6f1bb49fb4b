import { isatty } from 'node:tty'
import { openIndex, type FlistIndex } from '../flist/index.ts'
import { type ResolvedArchive, resolveArchive } from '../store/index.ts'
import { cacheDirOf } from './cache.ts'
import { locateArchive } from './fetched.ts'
import { showProgress } from './progress.ts'

/** Which archive, and what says where it is found. */
export interface ArchiveWords {
  /** A path, a URL, or a name on a hub. */
  readonly archive: string
  readonly cacheDir: string | undefined
  readonly hub: string | undefined
  /** SHA-256 that it must have, 64 hex digits. */
  readonly digest?: string | undefined
}

export interface ArchiveReport {
  warn(message: string): void
  /** Undefined: no progress is wanted. */
  readonly progress: ((text: string) => void) | undefined
}

export interface OpenedArchive extends Disposable {
  readonly index: FlistIndex
  /** Where the index lies. */
  readonly indexPath: string
  /** As typed, without secrets. */
  readonly name: string
  /** A local file. */
  readonly path: string
  /** What the archive's relative `dir:` URLs are relative to. */
  readonly baseDir: string
  readonly cacheDir: string
  /** Where it was fetched from, with its secrets. */
  readonly url?: URL | undefined
}

/** An archive as every verb takes it, compiled where it was not yet. Throws what finding, fetching and compiling it throws. */
export async function openArchive(
  words: ArchiveWords,
  report: ArchiveReport,
  signal: AbortSignal,
): Promise<OpenedArchive> {
  const cacheDir = cacheDirOf(words.cacheDir)
  const { hub, digest } = words
  const onWarning = (message: string): void => report.warn(message)
  const fetching = showProgress(report.progress, 'Fetching the archive', () => isatty(2))
  const reading = showProgress(report.progress, 'Reading the archive', () => isatty(2))
  try {
    const { onProgress } = fetching
    const find = (): Promise<ResolvedArchive> =>
      resolveArchive(words.archive, { hub, digest, cacheDir, onProgress, onWarning }, signal)
    const asked = { cacheDir, digest, onProgress: reading.onRows }
    const found = await locateArchive(find, asked, onWarning, signal)
    const index = openIndex(found.indexPath, found.digest)
    return { ...found, index, cacheDir, [Symbol.dispose]: () => index.close() }
  } finally {
    fetching.end()
    reading.end()
  }
}
