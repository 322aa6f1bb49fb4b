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
      const { upgrade, upgradeAll } = await import('../lib/commands/upgrade.ts')
      const { results, failures } =
        directory === undefined
          ? await upgradeAll(context.signal)
          : { results: await upgrade(directory, context.signal), failures: [] }
      const lines = results.map((one) => `${one.directory}: process ${one.from} -> ${one.to}, ${one.tookMs} ms\n`)
      const failed = failures.map(({ directory: at, error: { code, message } }) => ({
        directory: at,
        error: { code, message },
      }))
      context.output.result([...results, ...failed], lines.join(''))
      const codes = [...new Set(failures.map(({ error }) => error))].map((error) => context.output.fail(error))
      done(results.length > 0 && codes.length > 0 ? 3 : (codes[0] ?? 0))
    })
  program.command('resume', { hidden: true }).action(async () => {
    const { resumeMounts } = await import('../lib/commands/inherit.ts')
    done(await resumeMounts(context.signal))
  })
}
