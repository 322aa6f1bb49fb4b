import type { Command } from 'commander'
import { displaySize } from '../lib/base/index.ts'
import type { UnpackOutcome } from '../lib/commands/unpack.ts'
import {
  addContentOptions,
  archiveWords,
  contentWords,
  type ContentOptions,
  quietLog,
  reportOf,
} from './archive-options.ts'
import { type Context, verb } from './verb.ts'

/** Exit code for what was done in part. */
const IN_PART = 3
/** What is told one by one. */
const TOLD_MAX = 50

/** `flistfs unpack`. */
export function addUnpack(program: Command, context: Context, done: (code: number) => void): void {
  addContentOptions(verb(program, 'unpack', 'restore the tree of an archive in a folder'))
    .argument('<archive>', 'as for mount')
    .argument('<directory>', 'made where it is not there')
    .action(async (archive: string, directory: string, options: ContentOptions) => {
      const { unpackArchive } = await import('../lib/commands/unpack.ts')
      const words = { ...archiveWords(archive, options), ...contentWords(options), directory }
      const outcome = await unpackArchive(words, reportOf(context), quietLog(), context.signal)
      // As tar: that a user cannot give files away is no failure.
      const told = outcome.leftOut.filter(({ kind }) => kind !== 'owner')
      if (!context.output.json) {
        for (const { path, why } of told.slice(0, TOLD_MAX)) context.output.warn(`"${path}": ${why}`)
        if (told.length > TOLD_MAX) context.output.warn(`${told.length - TOLD_MAX} more; --json names them`)
      }
      context.output.result(outcome, unpackText(outcome))
      done(told.length > 0 ? IN_PART : 0)
    })
}

function unpackText({ directory, entries, bytes, kept, counts }: UnpackOutcome): string {
  const left = Object.entries(counts).map(([kind, count]) => `${kind} of ${count}`)
  const lines = [
    `${directory}: ${entries} entries, ${displaySize(bytes)}${kept > 0 ? `, ${kept} files were there` : ''}`,
    ...(left.length > 0 ? [`not as in the archive: ${left.join(', ')}`] : []),
  ]
  return `${lines.join('\n')}\n`
}
