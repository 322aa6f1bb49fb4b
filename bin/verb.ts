import type { Command, Option } from 'commander'
import { examplesText } from './examples.ts'
import type { Output } from './output.ts'

/** What a verb gets besides its words. */
export interface Context {
  readonly output: Output
  readonly signal: AbortSignal
}

/** For an option that may be given several times. */
export function collect(value: string, list: string[] = []): string[] {
  return [...list, value]
}

/** A verb with what all verbs have. */
export function verb(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .allowExcessArguments(false)
    .option('--json', 'print one JSON value; errors are JSON on stderr')
    .addHelpText('after', examplesText(name))
}

/** Whether it may be said several times. */
export function isRepeatable(option: Option): boolean {
  if (option.parseArg === undefined || option.argChoices !== undefined) return false
  return Array.isArray(tried(option))
}

function tried(option: Option): unknown {
  try {
    return option.parseArg?.('x', undefined)
  } catch {
    return undefined
  }
}
