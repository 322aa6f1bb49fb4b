import { isatty } from 'node:tty'
import type { Log } from '../base/index.ts'
import { unpackTree, type UnpackResult } from '../make/index.ts'
import { type ArchiveReport, type ArchiveWords, openArchive } from './open-archive.ts'
import { type ContentWords, openSupply } from './open-content.ts'
import { archiveProgress } from './progress.ts'

export interface UnpackOutcome extends UnpackResult {
  readonly archive: string
  readonly digest: string
  readonly directory: string
}

/** Restores an archive's tree in a folder. Throws what opening the archive and `unpackTree` throw. */
export async function unpackArchive(
  words: ArchiveWords & ContentWords & { readonly directory: string },
  report: ArchiveReport,
  log: Log,
  signal: AbortSignal,
): Promise<UnpackOutcome> {
  using archive = await openArchive(words, report, signal)
  const { index, name } = archive
  await using supply = await openSupply(archive, words, log)
  const progress = archiveProgress(report.progress, name, isatty(2), 'Unpacking')
  const { directory } = words
  try {
    const result = await unpackTree({ index, directory, supply, onProgress: progress.onProgress }, signal)
    return { archive: name, digest: index.digest, directory, ...result }
  } finally {
    progress.end()
  }
}
