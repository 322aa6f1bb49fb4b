import { writeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { FlistError, type Log, systemCode } from '../base/index.ts'
import { unpackTar, type UnpackTarResult, unpackTree, type UnpackResult } from '../make/index.ts'
import { TemporaryFile } from '../system/index.ts'
import type { Sink } from './look.ts'
import { type ArchiveReport, type ArchiveWords, openArchive } from './open-archive.ts'
import { type ContentWords, openSupply } from './open-content.ts'
import { showProgress } from './progress.ts'

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
  const progress = showProgress(report.progress, 'Unpacking', isatty(2), name)
  const { directory } = words
  try {
    const result = await unpackTree({ index, directory, supply, onProgress: progress.onProgress }, signal)
    return { archive: name, digest: index.digest, directory, ...result }
  } finally {
    progress.end()
  }
}

export interface UnpackTarOutcome extends UnpackTarResult {
  readonly archive: string
  readonly digest: string
  readonly tar: string
}

/** Writes an archive's tree as a tar into a file, which gets its name when it is whole, or where `sink` leads. Throws as `unpackArchive` does. */
export async function unpackToTar(
  words: ArchiveWords & ContentWords & { readonly tar: string },
  stdout: (Sink & { flush(): void }) | undefined,
  report: ArchiveReport,
  log: Log,
  signal: AbortSignal,
): Promise<UnpackTarOutcome> {
  using archive = await openArchive(words, report, signal)
  const { index, name } = archive
  await using supply = await openSupply(archive, words, log)
  const progress = showProgress(report.progress, 'Unpacking', isatty(2), name)
  using file = stdout === undefined ? new TarFile(words.tar) : undefined
  const sink = stdout ?? file
  try {
    if (sink === undefined) throw new TypeError('a tar goes somewhere')
    const result = await unpackTar({ index, supply, sink, onProgress: progress.onProgress }, signal)
    file?.publish()
    return { archive: name, digest: index.digest, tar: words.tar, ...result }
  } finally {
    stdout?.flush()
    progress.end()
  }
}

/** A file that has its name only when all of it is there. */
class TarFile implements Disposable {
  readonly closed = false
  readonly #path: string
  readonly #file: TemporaryFile

  constructor(path: string) {
    this.#path = path
    this.#file = this.#try(() => new TemporaryFile(path))
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
      throw new FlistError('FLIST_SYSTEM', `Cannot write "${this.#path}": ${systemCode(cause)}`, { cause })
    }
  }
}
