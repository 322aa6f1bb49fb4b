import { addAbortSignal } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import type { Command } from 'commander'
import { FlistError, wordOf } from '../lib/base/index.ts'
import { archiveWords, type ArchiveOptions, reportOf } from './archive-options.ts'
import { collect, type Context, verb } from './verb.ts'

type Done = (code: number) => void

interface EditWords extends ArchiveOptions {
  readonly output?: string
  readonly store?: string[]
  readonly sign?: string[]
}

/** The verbs that change archives: `edit merge tag route`. */
export function addEditing(program: Command, context: Context, done: Done): void {
  addEdit(program, context, done)
  addMerge(program, context, done)
  addTag(program, context, done)
  addRoute(program, context, done)
}

function changing(program: Command, name: string, description: string): Command {
  return verb(program, name, description)
    .option('-o, --output <file>', 'write there, and leave the archive as it is')
    .option('--cache <dir>', 'folder of the cache')
    .option('--hub <url>', 'the hub that user/name.flist is on')
}

function addEdit(program: Command, context: Context, done: Done): void {
  changing(program, 'edit', 'change entries of an archive')
    .argument('<archive>', 'as for mount')
    .argument(
      '<command...>',
      'put rm mv mkdir ln chmod chown set-xattr rm-xattr with their words; or - for lines of them',
    )
    .option('--store <[xx-xx=]url>', 'where blocks of put go, instead of what the archive says (repeatable)', collect)
    .option('--sign <file>', 'sign the result with this key (repeatable)', collect)
    .allowUnknownOption()
    .action(async (archive: string, words: string[], options: EditWords) => {
      const { editArchive, commandsOf } = await import('../lib/commands/edit.ts')
      const commands = words[0] === '-' ? commandsOf(wordOf(await standardInput(context.signal))) : [words]
      const { output, store = [], sign = [] } = options
      const request = { ...archiveWords(archive, options), output, stores: store, sign, commands, now: now() }
      const written = await editArchive(request, reportOf(context), context.signal)
      context.output.result(written, '')
      done(0)
    })
}

/** All of it. Nothing is read at once: who types it may press Ctrl-C instead. */
async function standardInput(signal: AbortSignal): Promise<Buffer> {
  return await buffer(addAbortSignal(signal, process.stdin))
}

/** Seconds. What is made again is to be the same again: reproducible-builds.org. */
function now(): number {
  const said = process.env['SOURCE_DATE_EPOCH']
  if (said === undefined || said === '') return Math.floor(Date.now() / 1000)
  if (/^\d{1,12}$/.test(said)) return Number(said)
  throw new FlistError('FLIST_USAGE', `Cannot use "SOURCE_DATE_EPOCH": "${said}" is no number of seconds`)
}

interface MergeWords extends EditWords {
  readonly whiteouts: boolean
}

function addMerge(program: Command, context: Context, done: Done): void {
  changing(program, 'merge', 'put archives over each other, the later ones on top')
    .argument('<archive...>', 'two or more, as for mount')
    .option('--store <[xx-xx=]url>', 'what the result says of its blocks, instead of all the archives say', collect)
    .option('--sign <file>', 'sign the result with this key (repeatable)', collect)
    .option('--no-whiteouts', 'keep whiteouts as entries, and let them hide nothing')
    .action(async (archives: string[], options: MergeWords) => {
      const { mergeArchives } = await import('../lib/commands/merge.ts')
      const { output, store = [], sign = [], whiteouts, cache: cacheDir, hub } = options
      if (output === undefined) {
        throw new FlistError('FLIST_USAGE', 'Cannot merge: where the result goes is missing', { hint: 'Say -o FILE' })
      }
      const request = { archives, output, stores: store, sign, whiteouts, cacheDir, hub }
      const written = await mergeArchives(request, reportOf(context), context.signal)
      context.output.result(written, '')
      done(0)
    })
}

interface TagWords extends EditWords {
  readonly remove?: string[]
}

function addTag(program: Command, context: Context, done: Done): void {
  changing(program, 'tag', 'show the tags of an archive, or set some')
    .argument('<archive>', 'as for mount')
    .argument('[name=value...]', 'tags to set')
    .option('--remove <name>', 'take a tag away (repeatable)', collect)
    .action(async (archive: string, words: string[], options: TagWords) => {
      const { tagArchive } = await import('../lib/commands/describe.ts')
      const request = {
        ...archiveWords(archive, options),
        output: options.output,
        remove: options.remove ?? [],
        set: words,
      }
      const tags = await tagArchive(request, reportOf(context), context.signal)
      const isChange = words.length > 0 || request.remove.length > 0
      const text = Object.entries(tags).map(([name, value]) => `${name}=${value}\n`)
      context.output.result(tags, isChange ? '' : text.join(''))
      done(0)
    })
}

interface RouteWords extends EditWords {
  readonly add?: string[]
  readonly remove?: string[]
  readonly set?: string[]
}

function addRoute(program: Command, context: Context, done: Done): void {
  changing(program, 'route', 'show where an archive says its blocks are, or change that')
    .argument('<archive>', 'as for mount')
    .option('--add <[xx-xx=]url>', 'one more place, asked after the others (repeatable)', collect)
    .option('--remove <url>', 'take a place away (repeatable)', collect)
    .option('--set <[xx-xx=]url>', 'instead of all there are (repeatable)', collect)
    .action(async (archive: string, options: RouteWords) => {
      const { routeArchive } = await import('../lib/commands/describe.ts')
      const { add = [], remove = [], set, output } = options
      const request = { ...archiveWords(archive, options), output, add, remove, set }
      const routes = await routeArchive(request, reportOf(context), context.signal)
      const isChange = add.length + remove.length > 0 || set !== undefined
      context.output.result(routes, isChange ? '' : routes.map(({ range, url }) => `${range}=${url}\n`).join(''))
      done(0)
    })
}
