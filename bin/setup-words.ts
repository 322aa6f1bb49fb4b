import type { Command } from 'commander'
import { type Context, verb } from './verb.ts'

/** The verb `setup`. */
export function addSetup(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'setup', 'make mount(8), systemd and shells know flistfs')
    .option('--prefix <dir>', 'put everything below this folder, as a package does')
    .option('--zero-os', 'also answer to the names of its mounters, g8ufs and rfs')
    .option('--remove', 'take away what setup has put')
    .action(async (words: { prefix?: string; zeroOs?: true; remove?: true }) => {
      const { setup } = await import('../lib/commands/setup.ts')
      const request = { prefix: words.prefix, zeroOs: words.zeroOs ?? false, remove: words.remove ?? false }
      const steps = setup(request, [process.execPath, process.argv[1] ?? ''])
      const lines = steps.map(({ path, done: what, why }) => `${what} ${path}${why === undefined ? '' : ` (${why})`}\n`)
      context.output.result(steps, lines.length === 0 ? 'There was nothing to remove\n' : lines.join(''))
      done(0)
    })
}
