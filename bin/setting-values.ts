import { CommanderError, type Option } from 'commander'
import { FlistError, parseDuration, parseSize } from '../lib/base/index.ts'
import { parseDigest } from './archive-options.ts'
import { parseAge } from './cache-words.ts'
import { ignored } from './diff-words.ts'
import { parseLevels } from './look-words.ts'
import { isRepeatable } from './verb.ts'

type Read = (text: string) => unknown

/** By what the rooms below read a text; loaded where settings speak of it. */
const below = (read: (checks: typeof import('../lib/commands/check-values.ts')) => Read): Read => {
  return async (text) => read(await import('../lib/commands/check-values.ts'))(text)
}

/** What is read from a text only later: said as soon as settings are read, so that who wrote it learns where it stands. */
const READ: Readonly<Record<string, Read>> = {
  '--timeout': (text) => parseDuration(text, 'a time to wait'),
  '--cache-size': parseSize,
  '--to': parseSize,
  '--older': parseAge,
  '--digest': parseDigest,
  '--level': parseLevels,
  '--ignore': ignored,
  '--metrics': below((checks) => checks.parseMetricsAddress),
  '--store': below((checks) => checks.checkStore),
  '--default-store': below((checks) => checks.checkStore),
  '--hub': below((checks) => checks.checkHub),
  '--mtime': below((checks) => checks.checkTime),
  '--mirror': below((checks) => checks.parseMirror),
  '--platform': below((checks) => checks.parsePlatform),
}

type No = (why: string, hint?: string) => FlistError

/** Throws what `no` makes where the option would not take the values. */
export async function checkValues(option: Option, values: readonly (string | boolean)[], no: No): Promise<void> {
  if (values.length > 1 && !isRepeatable(option)) throw no('one value is wanted')
  if (values.includes('')) throw no('it is empty')
  if (values.some((value) => typeof value === 'string' && value.includes('\0'))) throw no('it has a NUL in it')
  const choices = option.argChoices
  const stranger = choices && values.find((value) => typeof value !== 'string' || !choices.includes(value))
  if (choices !== undefined && stranger !== undefined) throw no(`"${stranger}" is none of ${choices.join(', ')}`)
  for (const value of values) {
    if (typeof value !== 'string') continue
    try {
      option.parseArg?.(value, undefined)
      await READ[option.long ?? '']?.(value)
    } catch (error) {
      if (error instanceof CommanderError) throw no(`"${value}": ${error.message.replace(/\.$/, '')}`)
      if (!(error instanceof FlistError)) throw error
      throw no(reasonOf(error), error.hint)
    }
  }
}

/** What a reader says of a word, behind the name of a setting. */
function reasonOf({ message }: FlistError): string {
  return message
    .replace(/^Cannot (?:read|use) (".*") as /s, '$1 is not ')
    .replace(/^Cannot serve metrics at (".*")$/s, '$1 is no address for metrics')
    .replace(/^Cannot /, 'cannot ')
}
