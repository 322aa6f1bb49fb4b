import type { Command } from 'commander'
import { FlistError } from '../lib/base/index.ts'
import type { ListRequest } from '../lib/commands/list-archive.ts'
import {
  addArchiveOptions,
  addContentOptions,
  type ArchiveOptions,
  contentWords,
  type ContentOptions,
  quietLog,
  reportOf,
  archiveWords,
  withArchive,
} from './archive-options.ts'
import { JsonArray, Printer } from './output.ts'
import { type Context, verb } from './verb.ts'

type Done = (code: number) => void

/** The verbs that look into archives: `inspect tree ls stat cat find du`. */
export function addLooking(program: Command, context: Context, done: Done): void {
  addInspect(program, context, done)
  addTree(program, context, done)
  addLs(program, context, done)
  addStat(program, context, done)
  addCat(program, context, done)
  addFind(program, context, done)
  addDu(program, context, done)
}

function look(program: Command, name: string, description: string): Command {
  return addArchiveOptions(verb(program, name, description).argument('<archive>', 'as for mount'))
}

function addInspect(program: Command, context: Context, done: Done): void {
  look(program, 'inspect', 'show what an archive is: format, entries, blocks, routes, tags, configuration').action(
    async (archive: string, options: ArchiveOptions) => {
      const { inspectArchive } = await import('../lib/commands/look.ts')
      const { inspectText } = await import('./look-texts.ts')
      const found = await withArchive(context, archive, options, (opened) => inspectArchive(opened, context.signal))
      context.output.result(found, inspectText(found))
      done(0)
    },
  )
}

interface TreeOptions extends ArchiveOptions {
  readonly level?: string
  readonly all?: true
  readonly directories?: true
  readonly size?: true
}

function addTree(program: Command, context: Context, done: Done): void {
  look(program, 'tree', 'draw the tree of an archive')
    .argument('[path]', 'where to begin', '.')
    .option('-L, --level <levels>', 'so many levels')
    .option('-a, --all', 'names that begin with a dot too')
    .option('-d, --directories', 'folders only')
    .option('--size', 'sizes in bytes before names')
    .action(async (archive: string, path: string, options: TreeOptions) => {
      const { drawArchive } = await import('../lib/commands/list-archive.ts')
      const printer = new Printer('names')
      const drawing = {
        depthMax: options.level === undefined ? undefined : parseLevels(options.level),
        all: options.all ?? false,
        foldersOnly: options.directories ?? false,
        sizes: options.size ?? false,
      }
      const { json } = context.output
      const sink = json ? { closed: false, push: () => undefined } : printer
      const drawn = await withArchive(context, archive, options, (opened) => drawArchive(opened, path, drawing, sink))
      printer.flush()
      const { folders, others } = drawn
      context.output.result(drawn, printer.closed ? '' : `\n${folders} directories, ${others} files\n`)
      done(0)
    })
}

/** Throws FLIST_USAGE. */
export function parseLevels(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new FlistError('FLIST_USAGE', `Cannot read "${text}" as a number of levels`, {
    hint: 'Give a number of 1 or more',
  })
}

interface LsOptions extends ArchiveOptions {
  readonly long?: true
  readonly all?: true
  readonly almostAll?: true
  readonly recursive?: true
  readonly directory?: true
  readonly inode?: true
  readonly humanReadable?: true
  readonly bySize?: true
  readonly byTime?: true
  readonly reverse?: true
}

function addLs(program: Command, context: Context, done: Done): void {
  look(program, 'ls', 'list folders of an archive, one name a line')
    .argument('[path...]', 'files and folders in it')
    .helpOption('--help', 'display help for command')
    .option('-l, --long', 'modes, links, owners, sizes and times too')
    .option('-a, --all', 'names that begin with a dot too, with . and ..')
    .option('-A, --almost-all', 'names that begin with a dot too')
    .option('-R, --recursive', 'and the folders in them')
    .option('-d, --directory', 'folders themselves, not what is in them')
    .option('-i, --inode', 'inode numbers')
    .option('-h, --human-readable', 'sizes such as 1.5K')
    .option('-S, --by-size', 'largest first')
    .option('-t, --by-time', 'newest first')
    .option('-r, --reverse', 'the other way round')
    .action(async (archive: string, paths: string[], options: LsOptions) => {
      const { listArchive } = await import('../lib/commands/list-archive.ts')
      const printer = new Printer('names')
      const array = context.output.json ? new JsonArray(printer) : undefined
      const request = listRequest(paths, options)
      await withArchive(context, archive, options, (opened) =>
        listArchive(opened, request, printer, array && ((entry) => array.push(entry))),
      )
      array?.end()
      printer.flush()
      done(0)
    })
}

function listRequest(paths: readonly string[], options: LsOptions): ListRequest {
  return {
    paths,
    folders: options.directory ?? false,
    recursive: options.recursive ?? false,
    long: options.long ?? false,
    dots: options.all ? 'all' : options.almostAll ? 'almost' : 'none',
    inodes: options.inode ?? false,
    human: options.humanReadable ?? false,
    by: options.bySize ? 'size' : options.byTime ? 'time' : 'name',
    reverse: options.reverse ?? false,
  }
}

function addStat(program: Command, context: Context, done: Done): void {
  look(program, 'stat', 'show all attributes of entries of an archive; links are not followed')
    .argument('<path...>', 'files and folders in it')
    .action(async (archive: string, paths: string[], options: ArchiveOptions) => {
      const { statPaths } = await import('../lib/commands/look.ts')
      const { statText } = await import('./look-texts.ts')
      const found = await withArchive(context, archive, options, (opened) => statPaths(opened, paths))
      context.output.result(found, statText(found))
      done(0)
    })
}

function addCat(program: Command, context: Context, done: Done): void {
  addContentOptions(verb(program, 'cat', 'print files of an archive, fetched where they are not cached'))
    .argument('<archive>', 'as for mount')
    .argument('<path...>', 'files in it')
    .action(async (archive: string, paths: string[], options: ContentOptions) => {
      const { catFiles } = await import('../lib/commands/cat.ts')
      const printer = new Printer('content')
      const words = contentWords(options)
      await withArchive(context, archive, options, (opened) =>
        catFiles(opened, paths, words, printer, quietLog(), context.signal),
      )
      printer.flush()
      done(0)
    })
}

function addFind(program: Command, context: Context, done: Done): void {
  look(program, 'find', 'find entries of an archive, with the tests of find(1)')
    .argument('[expression...]', 'paths, then tests such as -name, -type, -size, and actions such as -printf')
    .allowUnknownOption()
    .helpOption('--help', 'display help for command')
    .action(async (archive: string, expression: string[], options: ArchiveOptions) => {
      const { findEntries } = await import('../lib/commands/look.ts')
      const { localTime } = await import('../lib/commands/list-archive.ts')
      const printer = new Printer('names')
      const array = context.output.json ? new JsonArray(printer) : undefined
      await withArchive(context, archive, options, (opened) =>
        findEntries(opened, expression, printer, localTime, array && ((entry) => array.push(entry))),
      )
      array?.end()
      printer.flush()
      done(0)
    })
}

function addDu(program: Command, context: Context, done: Done): void {
  addArchiveOptions(verb(program, 'du', 'show what archives hold, what they share, and what of it is cached'))
    .argument('<archive...>', 'one or more, as for mount')
    .action(async (names: string[], options: ArchiveOptions) => {
      const { openArchive } = await import('../lib/commands/open-archive.ts')
      const { diskUse } = await import('../lib/commands/share.ts')
      const { duText } = await import('./look-texts.ts')
      using opened = new DisposableStack()
      const archives = []
      for (const name of names) {
        archives.push(opened.use(await openArchive(archiveWords(name, options), reportOf(context), context.signal)))
      }
      const use = await diskUse(archives, context.signal)
      context.output.result(use, duText(use))
      done(0)
    })
}
