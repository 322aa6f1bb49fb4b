import type { Command } from 'commander'
import { describeError, FlistError, Log, parseDuration, parseSize } from '../lib/base/index.ts'
import type { PinRequest } from '../lib/commands/cache-pin.ts'
import { EXAMPLES } from './examples.ts'
import { write } from './output.ts'
import { collect, type Context, verb } from './verb.ts'

type Done = (code: number) => void

/** Exit code for a job that was done in part, and for damage that is still there. */
const EXIT = { inPart: 3, damaged: 12 } as const

/** `flistfs cache list|prune|verify|pin|unpin`. */
export function addCache(program: Command, context: Context, done: Done): void {
  const cache = verb(program, 'cache', 'look after the cache, beside running mounts')
  cache.allowExcessArguments().action(() => {
    const [name] = cache.args
    const why = name === undefined ? 'what to do with the cache is missing' : `cache does not know "${name}"`
    throw new FlistError('FLIST_USAGE', `Cannot understand the command line: ${why}`, {
      hint: 'See `flistfs cache --help`',
    })
  })
  addList(cache, context, done)
  addPrune(cache, context, done)
  addVerify(cache, context, done)
  addPin(cache, context, done)
  addUnpin(cache, context, done)
}

function job(cache: Command, name: string, description: string): Command {
  const examples = (EXAMPLES['cache'] ?? []).filter(([words]) => words.startsWith(`cache ${name}`))
  const lines = examples.flatMap(([words, what]) => [`  # ${what}`, `  flistfs ${words}`])
  return cache
    .command(name)
    .description(description)
    .allowExcessArguments(false)
    .option('-c, --cache <dir>', 'folder of the cache')
    .option('--json', 'print one JSON value; errors are JSON on stderr')
    .addHelpText('after', ['', 'Examples:', ...lines].join('\n'))
}

function addList(cache: Command, context: Context, done: Done): void {
  job(cache, 'list', 'show how much is cached, of which archives, and what is pinned').action(
    async (words: { cache?: string }) => {
      await begin(context, cache, words)
      const { listCache } = await import('../lib/commands/cache.ts')
      const { cacheListText } = await import('./cache-texts.ts')
      const listing = await listCache(folder(words), context.signal)
      context.output.result(listing, cacheListText(listing))
      done(0)
    },
  )
}

function addPrune(cache: Command, context: Context, done: Done): void {
  job(cache, 'prune', 'remove what was used longest ago; never what is pinned or mounted')
    .option('--to <size>', 'until the blocks have no more than this; the limit of the cache where nothing is said')
    .option('--older <age>', 'only what was not used for so long: 12h, 30d; archives and indexes too')
    .option('--all', 'all that is neither pinned nor mounted; archives and indexes too')
    .option('-n, --dry-run', 'change nothing, say what would go')
    .action(async (words: { cache?: string; to?: string; older?: string; all?: true; dryRun?: true }) => {
      await begin(context, cache, words)
      if (words.all && (words.to !== undefined || words.older !== undefined)) {
        throw new FlistError('FLIST_USAGE', 'Cannot use --all with --to or --older', { hint: 'Leave one of them out' })
      }
      const { pruneCache } = await import('../lib/commands/cache.ts')
      const { pruneText } = await import('./cache-texts.ts')
      const request = {
        cacheDir: folder(words),
        to: words.to === undefined ? undefined : parseSize(words.to),
        olderMs: words.older === undefined ? undefined : parseAge(words.older),
        all: words.all ?? false,
        dryRun: words.dryRun ?? false,
      }
      const outcome = await pruneCache(request, log(), context.signal)
      context.output.result(outcome, pruneText(outcome))
      done(0)
    })
}

function addVerify(cache: Command, context: Context, done: Done): void {
  job(cache, 'verify', 'hash every block and archive that is cached')
    .option('--repair', 'drop what is damaged; it is fetched again when it is read')
    .action(async (words: { cache?: string; repair?: true }) => {
      await begin(context, cache, words)
      const { verify } = await import('../lib/commands/cache.ts')
      const { showProgress } = await import('../lib/commands/progress.ts')
      const { verifyText } = await import('./cache-texts.ts')
      const { isatty } = await import('node:tty')
      const progress = showProgress(progressOf(context), 'Checking blocks', isatty(2))
      const request = { cacheDir: folder(words), repair: words.repair ?? false, onProgress: progress.onProgress }
      const outcome = await verify(request, log(), context.signal).finally(() => progress.end())
      context.output.result(outcome, verifyText(outcome))
      const isDamaged = outcome.damaged + outcome.archives.length > 0 || outcome.database !== undefined
      done(isDamaged && !outcome.repaired ? EXIT.damaged : 0)
    })
}

interface PinWords {
  readonly cache?: string
  readonly cacheSize?: string
  readonly store?: string[]
  readonly timeout?: string
  readonly digest?: string
  readonly hub?: string
  readonly fetch?: true
}

function addPin(cache: Command, context: Context, done: Done): void {
  job(cache, 'pin', 'keep all blocks of an archive once they are there')
    .argument('<archive>', 'as for mount; or the digest of one that `cache list` shows')
    .option('--fetch', 'fetch all of its blocks now')
    .option('-s, --store <[xx-xx=]url>', 'where blocks come from, as for mount (repeatable)', collect)
    .option('--cache-size <size>', 'most the cache may hold, as for mount')
    .option('--timeout <time>', 'until a block that no store serves fails: 30, 500ms, 2m')
    .option('--digest <sha256:hex>', 'refuse an archive that has another digest')
    .option('--hub <url>', 'the hub that user/name.flist is on')
    .action(async (archive: string, words: PinWords) => {
      await begin(context, cache, words)
      const { pinArchive } = await import('../lib/commands/cache-pin.ts')
      const { pinText } = await import('./cache-texts.ts')
      const report = { warn: (message: string) => context.output.warn(message), progress: progressOf(context) }
      const { outcome, error } = await pinArchive(pinRequest(archive, words), report, log(), context.signal)
      const { fetched } = outcome
      // What no store gave at all is a failure; a part that is here is worth saying.
      if (fetched !== undefined && fetched.failed > 0 && fetched.blocks === 0) throw error
      if (error !== undefined) context.output.warn(describeError(error))
      context.output.result(outcome, pinText(outcome))
      done(fetched !== undefined && fetched.failed + fetched.notKept > 0 ? EXIT.inPart : 0)
    })
}

function pinRequest(archive: string, words: PinWords): PinRequest {
  const { env } = process
  const cacheSize = words.cacheSize ?? (env['FLISTFS_CACHE_SIZE'] || undefined)
  const timeout = words.timeout ?? (env['FLISTFS_TIMEOUT'] || undefined)
  const digest = /^(?:sha256:)?([0-9a-f]{64})$/i.exec(words.digest ?? '')?.[1]
  if (words.digest !== undefined && digest === undefined) {
    throw new FlistError('FLIST_USAGE', `Cannot use "${words.digest}" as a digest`, {
      hint: 'Write sha256: and 64 hex digits',
    })
  }
  return {
    archive,
    cacheDir: folder(words),
    cacheBytesMax: cacheSize === undefined ? undefined : parseSize(cacheSize),
    hub: words.hub ?? (env['FLISTFS_HUB'] || undefined),
    digest: digest?.toLowerCase(),
    stores: words.store ?? (env['FLISTFS_STORE'] ?? '').split(/\s+/).filter((url) => url !== ''),
    timeoutMs: timeout === undefined ? undefined : parseDuration(timeout, 'a time to wait'),
    fetch: words.fetch ?? false,
  }
}

function addUnpin(cache: Command, context: Context, done: Done): void {
  job(cache, 'unpin', 'let an archive go again when room is needed')
    .argument('<archive>', 'its path, URL, name or digest')
    .action(async (archive: string, words: { cache?: string }) => {
      await begin(context, cache, words)
      const { unpinArchive } = await import('../lib/commands/cache-pin.ts')
      const outcome = await unpinArchive(archive, folder(words), log(), context.signal)
      context.output.result(outcome, outcome.changed ? '' : `${archive} was not pinned\n`)
      done(0)
    })
}

/** `--json` may stand before the job's name or behind it. */
async function begin(context: Context, cache: Command, words: { readonly cache?: string }): Promise<void> {
  if (cache.opts<{ json?: true }>().json) context.output.json = true
  const { cacheDirOf } = await import('../lib/commands/cache.ts')
  const { networkWarning } = await import('../lib/commands/cache-place.ts')
  const unsafe = networkWarning(cacheDirOf(folder(words)))
  if (unsafe !== undefined) context.output.warn(unsafe)
}

function folder(words: { readonly cache?: string }): string | undefined {
  return words.cache ?? (process.env['FLISTFS_CACHE'] || undefined)
}

function progressOf(context: Context): ((text: string) => void) | undefined {
  return context.output.json ? undefined : (text) => write(2, text)
}

function log(): Log {
  return new Log(2, 'error')
}

const DAY_MS = 86_400_000

/** Milliseconds of `12h`, `30d`, `2w`. Throws FLIST_USAGE. */
export function parseAge(text: string): number {
  const match = /^(\d{1,6})([dw])$/.exec(text.trim())
  if (match === null) return parseDuration(text, 'an age', 'ms, s, m, h, d or w')
  return Number(match[1]) * (match[2] === 'w' ? 7 : 1) * DAY_MS
}
