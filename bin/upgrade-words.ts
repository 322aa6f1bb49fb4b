import type { Command } from 'commander'
import { FlistError } from '../lib/base/index.ts'
import { type Context, verb } from './verb.ts'

/** The verb `upgrade`, and the hidden `resume` that bin/supervise calls. */
export function addUpgrade(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'upgrade', "put the program on the disk in the place of a live mount's server")
    .argument('[directory]', 'where it is mounted')
    .option('--all', 'every mount')
    .action(async (directory: string | undefined, words: { all?: true }) => {
      if ((directory === undefined) !== (words.all ?? false)) {
        throw new FlistError('FLIST_USAGE', 'Cannot upgrade: name a folder, or --all', {
          hint: 'See `flistfs list` for what is mounted',
        })
      }
      const { upgrade } = await import('../lib/commands/upgrade.ts')
      const results = await upgrade(directory, context.signal)
      const lines = results.map((one) => `${one.directory}: process ${one.from} -> ${one.to}, ${one.tookMs} ms\n`)
      context.output.result(results, lines.join(''))
      done(0)
    })
  program.command('resume', { hidden: true }).action(async () => {
    const { resumeMounts } = await import('../lib/commands/inherit.ts')
    done(await resumeMounts(context.signal))
  })
}
