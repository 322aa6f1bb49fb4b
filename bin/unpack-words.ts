import type { Command } from 'commander'
import { isatty } from 'node:tty'
import { displaySize, FlistError } from '../lib/base/index.ts'
import type { UnpackOutcome, UnpackTarOutcome } from '../lib/commands/unpack.ts'
import {
  addContentOptions,
  archiveWords,
  contentWords,
  type ContentOptions,
  quietLog,
  reportOf,
} from './archive-options.ts'
import { Printer, write } from './output.ts'
import { type Context, verb } from './verb.ts'

/** Exit code for what was done in part. */
const IN_PART = 3
/** What is told one by one. */
const TOLD_MAX = 50

/** The name of standard output. */
const STDOUT = '-'

interface UnpackOptions extends ContentOptions {
  readonly tar?: string
}

/** `flistfs unpack`. */
export function addUnpack(program: Command, context: Context, done: (code: number) => void): void {
  addContentOptions(verb(program, 'unpack', 'restore the tree of an archive in a folder, or as a tar'))
    .argument('<archive>', 'as for mount')
    .argument('[directory]', 'made where it is not there')
    .option('--tar <file>', 'write a tar instead; - for standard output')
    .action(async (archive: string, directory: string | undefined, options: UnpackOptions) => {
      const { tar } = options
      if ((directory === undefined) === (tar === undefined)) {
        throw new FlistError('FLIST_USAGE', 'Cannot unpack: one of a folder and --tar is wanted', {
          hint: 'flistfs unpack debian.fl /srv/debian, or flistfs unpack debian.fl --tar debian.tar',
        })
      }
      const words = { ...archiveWords(archive, options), ...contentWords(options) }
      if (tar !== undefined) return done(await writeTar(context, { ...words, tar }))
      const { unpackArchive } = await import('../lib/commands/unpack.ts')
      const all = { ...words, directory: directory ?? '' }
      const outcome = await unpackArchive(all, reportOf(context), quietLog(), context.signal)
      const told = tell(context, outcome)
      context.output.result(outcome, unpackText(outcome))
      done(told > 0 ? IN_PART : 0)
    })
}

type TarWords = Parameters<typeof import('../lib/commands/unpack.ts').unpackToTar>[0]

/** Gives the exit code. What is told of a tar on standard output goes to stderr. */
async function writeTar(context: Context, words: TarWords): Promise<number> {
  const isStdout = words.tar === STDOUT
  if (isStdout && isatty(1)) {
    throw new FlistError('FLIST_USAGE', 'Cannot write a tar to a terminal', { hint: 'Name a file, or pipe it on' })
  }
  const { unpackToTar } = await import('../lib/commands/unpack.ts')
  const stdout = isStdout ? new Printer('content') : undefined
  const outcome = await unpackToTar(words, stdout, reportOf(context), quietLog(), context.signal)
  const told = tell(context, outcome)
  if (!isStdout) context.output.result(outcome, tarText(outcome))
  else if (context.output.json) write(2, `${JSON.stringify(outcome)}\n`)
  return told > 0 ? IN_PART : 0
}

/** Says what is not as in the archive, and how much that is. As tar: that a user cannot give files away is no failure. */
function tell(context: Context, { leftOut }: Pick<UnpackOutcome, 'leftOut'>): number {
  const told = leftOut.filter(({ kind }) => kind !== 'owner')
  if (context.output.json) return told.length
  for (const { path, why } of told.slice(0, TOLD_MAX)) context.output.warn(`"${path}": ${why}`)
  if (told.length > TOLD_MAX) context.output.warn(`${told.length - TOLD_MAX} more; --json names them`)
  return told.length
}

function tarText({ tar, entries, bytes }: UnpackTarOutcome): string {
  return `${tar}: ${entries} entries, ${displaySize(bytes)}\n`
}

function unpackText({ directory, entries, bytes, kept, counts }: UnpackOutcome): string {
  const left = Object.entries(counts).map(([kind, count]) => `${kind} of ${count}`)
  const lines = [
    `${directory}: ${entries} entries, ${displaySize(bytes)}${kept > 0 ? `, ${kept} files were there` : ''}`,
    ...(left.length > 0 ? [`not as in the archive: ${left.join(', ')}`] : []),
  ]
  return `${lines.join('\n')}\n`
}
