import type { Command } from 'commander'
import { FlistError, Log, parseDuration, parseSize } from '../lib/base/index.ts'
import type { ArchiveReport, ArchiveWords, OpenedArchive } from '../lib/commands/open-archive.ts'
import type { ContentWords } from '../lib/commands/open-content.ts'
import { write } from './output.ts'
import { collect, type Context } from './verb.ts'

/** What verbs that take an archive have in common. */
export interface ArchiveOptions {
  readonly cache?: string
  readonly hub?: string
  readonly digest?: string
}

/** What verbs that read content have besides. */
export interface ContentOptions extends ArchiveOptions {
  readonly store?: string[]
  readonly cacheSize?: string
  readonly timeout?: string
}

export function addArchiveOptions(command: Command): Command {
  return command
    .option('--cache <dir>', 'folder of the cache')
    .option('--hub <url>', 'the hub that user/name.flist is on')
    .option('--digest <sha256:hex>', 'refuse an archive that has another digest')
}

export function addContentOptions(command: Command): Command {
  return addArchiveOptions(command)
    .option('-s, --store <[xx-xx=]url>', 'where blocks come from, as for mount (repeatable)', collect)
    .option('--cache-size <size>', 'most the cache may hold, as for mount')
    .option('--timeout <time>', 'until a block that no store serves fails: 30, 500ms, 2m')
}

/** Throws FLIST_USAGE for what is no digest. */
export function archiveWords(archive: string, { cache, hub, digest }: ArchiveOptions): ArchiveWords {
  return { archive, cacheDir: cache, hub, digest: digest === undefined ? undefined : parseDigest(digest) }
}

/** Throws FLIST_USAGE. */
export function contentWords({ store, cacheSize, timeout }: ContentOptions): ContentWords {
  return {
    stores: store ?? [],
    cacheBytesMax: cacheSize === undefined ? undefined : parseSize(cacheSize),
    timeoutMs: timeout === undefined ? undefined : parseDuration(timeout, 'a time to wait'),
  }
}

export function parseDigest(text: string): string {
  const hex = /^(?:sha256:)?([0-9a-f]{64})$/i.exec(text)?.[1]
  if (hex !== undefined) return hex.toLowerCase()
  throw new FlistError('FLIST_USAGE', `Cannot use "${text}" as a digest`, { hint: 'Write sha256: and 64 hex digits' })
}

/** Opens the archive, does the work, and closes it. */
export async function withArchive<T>(
  context: Context,
  archive: string,
  options: ArchiveOptions,
  work: (archive: OpenedArchive) => Promise<T> | T,
): Promise<T> {
  const { openArchive } = await import('../lib/commands/open-archive.ts')
  using opened = await openArchive(archiveWords(archive, options), reportOf(context), context.signal)
  return await work(opened)
}

export function reportOf(context: Context): ArchiveReport {
  return {
    warn: (message) => context.output.warn(message),
    progress: context.output.json ? undefined : (text) => write(2, text),
  }
}

export function quietLog(): Log {
  return new Log(2, 'error')
}
