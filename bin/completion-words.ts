import { Argument, type Command } from 'commander'
import { write } from './output.ts'
import { type Context, verb } from './verb.ts'

/** The shells that can be completed in. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof SHELLS)[number]

/** The script that completes the words of `program` in a shell. */
export async function completionScript(program: Command, shell: Shell): Promise<string> {
  const { completedVerb } = await import('./completion-model.ts')
  const model = completedVerb(program)
  if (shell === 'bash') return (await import('./completion-bash.ts')).bashCompletion(model)
  if (shell === 'zsh') return (await import('./completion-zsh.ts')).zshCompletion(model)
  return (await import('./completion-fish.ts')).fishCompletion(model)
}

/** `flistfs completion bash|zsh|fish`. */
export function addCompletion(program: Command, context: Context, done: (code: number) => void): void {
  verb(program, 'completion', 'print the completion of a shell')
    .addArgument(new Argument('<shell>', 'whose completion').choices([...SHELLS]))
    .action(async (shell: Shell) => {
      const script = await completionScript(program, shell)
      if (context.output.json) context.output.result({ shell, script }, '')
      else write(1, script)
      done(0)
    })
}
