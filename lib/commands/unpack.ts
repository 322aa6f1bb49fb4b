import { writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { FlistError, type Log, systemReason } from '../base/index.ts'
import { type UnpackRequest, type UnpackResult, unpackTar, type UnpackTarResult, unpackTree } from '../make/index.ts'
import { checkTarget, TemporaryFile } from '../system/index.ts'
import type { Sink } from './look.ts'
import { type ArchiveReport, type ArchiveWords, openArchive } from './open-archive.ts'
import { type ContentWords, localContent, openSupply } from './open-content.ts'
import { showProgress } from './progress.ts'

export interface UnpackOutcome extends UnpackResult {
  readonly archive: string
  readonly digest: string
  readonly directory: string
}

/** Restores an archive's tree in a folder. Throws what opening the archive and `unpackTree` throw. */
export async function unpackArchive(
  words: UnpackWords & { readonly directory: string },
  report: ArchiveReport,
  log: Log,
  signal: AbortSignal,
): Promise<UnpackOutcome> {
  const { directory } = words
  const { result, ...from } = await restoring(words, report, log, signal, (tools) => {
    return unpackTree({ ...tools, directory }, signal)
  })
  return { ...from, directory, ...result }
}

export interface UnpackTarOutcome extends UnpackTarResult {
  readonly archive: string
  readonly digest: string
  readonly tar: string
}

/** Writes an archive's tree as a tar into a file, which gets its name when it is whole, or where `stdout` leads. Throws as `unpackArchive` does. */
export async function unpackToTar(
  words: UnpackWords & { readonly tar: string },
  stdout: (Sink & { flush(): void }) | undefined,
  report: ArchiveReport,
  log: Log,
  signal: AbortSignal,
): Promise<UnpackTarOutcome> {
  const { tar } = words
  const { result, ...from } = await restoring(words, report, log, signal, async (tools) => {
    if (stdout !== undefined) return unpackTar({ ...tools, sink: stdout }, signal).finally(() => stdout.flush())
    using file = new TarFile(tar, tools.path)
    const done = await unpackTar({ ...tools, sink: file }, signal)
    file.publish()
    return done
  })
  return { ...from, tar, ...result }
}

type UnpackWords = ArchiveWords & ContentWords
type Tools = Pick<UnpackRequest, 'index' | 'supply' | 'local' | 'onProgress'> & {
  /** Of the archive. */
  readonly path: string
}

/** Opens an archive and the way to its blocks for one pass over all of it. */
async function restoring<Result>(
  words: UnpackWords,
  report: ArchiveReport,
  log: Log,
  signal: AbortSignal,
  work: (tools: Tools) => Promise<Result>,
): Promise<{ readonly archive: string; readonly digest: string; readonly result: Result }> {
  using archive = await openArchive(words, report, signal)
  const { index, name, path } = archive
  await using supply = await openSupply(archive, words, log)
  const progress = showProgress(report.progress, 'Unpacking', isatty(2), name)
  try {
    const local = await localContent(archive, words)
    const result = await work({ index, path, supply, local, onProgress: progress.onProgress })
    return { archive: name, digest: index.digest, result }
  } finally {
    progress.end()
  }
}

/** A file that has its name only when all of it is there. */
class TarFile implements Disposable {
  readonly closed = false
  readonly #path: string
  readonly #file: TemporaryFile

  constructor(path: string, source: string) {
    this.#path = path
    this.#file = this.#try(() => {
      checkTarget(path, source)
      return new TemporaryFile(path)
    })
  }

  push(bytes: Buffer): void {
    this.#try(() => {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#file.fd, bytes, at)
    })
  }

  publish(): void {
    this.#try(() => this.#file.publish())
  }

  [Symbol.dispose](): void {
    this.#file[Symbol.dispose]()
  }

  #try<T>(work: () => T): T {
    try {
      return work()
    } catch (cause) {
      if (cause instanceof FlistError) throw cause
      throw new FlistError('FLIST_SYSTEM', `Cannot write "${this.#path}": ${systemReason(cause)}`, {
        hint: 'Name a file in a folder that is there, with room on its disk',
        cause,
      })
    }
  }
}
