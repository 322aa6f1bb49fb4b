import { type Command, InvalidArgumentError, Option } from 'commander'
import { collect } from './verb.ts'

const THREADS_MAX = 64

/** What verbs that make archives of something else have in common. */
export interface MakingOptions {
  readonly store?: string[]
  readonly format: 'fl' | 'v1'
  readonly keepPassword?: true
  readonly sign?: string[]
  readonly jobs?: number
}

export function addMakingOptions(command: Command): Command {
  return command
    .option('-s, --store <[xx-xx=]url>', 'where blocks go; several for ranges or copies (repeatable)', collect)
    .addOption(new Option('--format <format>', 'fl, or the older v1').choices(['fl', 'v1']).default('fl'))
    .option('--keep-password', 'leave passwords and tokens of stores in the archive')
    .option('--sign <keyfile>', 'sign the archive with this private key (repeatable)', collect)
    .option('-j, --jobs <count>', 'threads that make blocks; one a core where nothing is said', threads)
}

export function makingWords({ store = [], format, keepPassword, sign = [], jobs }: MakingOptions) {
  return { stores: store, format, keepPassword: keepPassword ?? false, sign, threads: jobs }
}

function threads(text: string): number {
  if (/^\d{1,3}$/.test(text) && Number(text) >= 1 && Number(text) <= THREADS_MAX) return Number(text)
  throw new InvalidArgumentError(`a number from 1 to ${THREADS_MAX} is wanted.`)
}
