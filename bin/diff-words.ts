import type { Command } from 'commander'
import { FlistError } from '../lib/base/index.ts'
import type { DiffCounts, Difference } from '../lib/commands/diff.ts'
import {
  addContentOptions,
  archiveWords,
  contentWords,
  type ContentOptions,
  quietLog,
  reportOf,
} from './archive-options.ts'
import { JsonArray, Printer, table } from './output.ts'
import { type Context, verb } from './verb.ts'

interface DiffWords extends ContentOptions {
  readonly stat?: true
  readonly ignore?: string
}

/** As in git: what is different has an exit code. */
const DIFFERENT = 1
const LETTERS = { added: 'A', removed: 'D', changed: 'M' } as const

export function addDiff(program: Command, context: Context, done: (code: number) => void): void {
  addContentOptions(
    verb(program, 'diff', 'compare two archives, or an archive and a folder; exit code 1 where they differ'),
  )
    .argument('<before>', 'an archive as for mount, or a folder')
    .argument('<after>', 'the same')
    .option('--stat', 'print counts only')
    .option('--ignore <what>', 'type, content, target, device, mode, owner, mtime, xattrs, links; separated by commas')
    .action(async (before: string, after: string, options: DiffWords) => {
      const { diffTrees, changeEntry } = await import('../lib/commands/diff.ts')
      const printer = new Printer('names')
      const array = context.output.json && !options.stat ? new JsonArray(printer) : undefined
      const request = {
        before: archiveWords(before, options),
        // A digest is one archive's.
        after: { ...archiveWords(after, options), digest: undefined },
        ignore: await ignored(options.ignore),
        content: contentWords(options),
      }
      const emit: Parameters<typeof diffTrees>[2] = (change) => {
        if (options.stat) return
        if (array !== undefined) return array.push(changeEntry(change))
        const what = change.differences.length === 0 ? '' : `  (${change.differences.join(', ')})`
        const path = change.path.length === 0 ? '.' : change.path.toString('latin1')
        printer.push(Buffer.from(`${LETTERS[change.change]} ${path}${what}\n`, 'latin1'))
      }
      const counts = await diffTrees(request, reportOf(context), emit, quietLog(), context.signal)
      array?.end()
      printer.flush()
      if (options.stat) context.output.result(counts, countsText(counts))
      done(counts.added + counts.removed + counts.changed > 0 ? DIFFERENT : 0)
    })
}

export async function ignored(list: string | undefined): Promise<ReadonlySet<Difference>> {
  const { DIFFERENCES } = await import('../lib/commands/diff.ts')
  const names = list === undefined ? [] : list.split(',').map((name) => name.trim())
  const known = names.filter((name): name is Difference => (DIFFERENCES as readonly string[]).includes(name))
  const strange = names.find((name) => !(known as string[]).includes(name))
  if (strange === undefined) return new Set(known)
  throw new FlistError('FLIST_USAGE', `Cannot ignore "${strange}"`, { hint: `Known are ${DIFFERENCES.join(', ')}` })
}

function countsText({ added, removed, changed, differences }: DiffCounts): string {
  return table([
    ['added', String(added)],
    ['removed', String(removed)],
    ['changed', String(changed)],
    ...Object.entries(differences).map(([what, count]) => [`  ${what}`, String(count)]),
  ])
}
