import { FlistError } from '../base/index.ts'

interface Rule {
  readonly wanted: string
  readonly holds: (value: unknown) => boolean
}

const POSITIVE: Rule = {
  wanted: 'a number above 0',
  holds: (value) => typeof value === 'number' && Number.isFinite(value) && value > 0,
}
const COUNT: Rule = {
  wanted: 'a whole number above 0',
  holds: (value) => Number.isSafeInteger(value) && Number(value) > 0,
}

/** What a program may say wrong without its compiler's noticing, and would be taken for something else. */
const RULES: Readonly<Record<string, Rule>> = {
  format: oneOf('fl', 'v1'),
  look: oneOf('structure', 'blocks', 'deep'),
  threads: COUNT,
  cacheBytesMax: COUNT,
  // Nothing would be the folder where the program runs.
  cacheDir: { wanted: 'the path of a folder', holds: (value) => typeof value === 'string' && value !== '' },
  timeoutMs: POSITIVE,
  digest: {
    wanted: 'a SHA-256 as 64 hex digits',
    holds: (value) => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value),
  },
}

/** Looks at options of a call of the library. Throws FLIST_USAGE. */
export function checkOptions(options: object): void {
  for (const [name, value] of Object.entries(options)) {
    const rule = RULES[name]
    if (rule === undefined || value === undefined || rule.holds(value)) continue
    throw new FlistError('FLIST_USAGE', `The option "${name}" is ${JSON.stringify(value)}, not ${rule.wanted}`)
  }
}

function oneOf(...values: readonly string[]): Rule {
  return {
    wanted: `one of ${values.map((value) => `"${value}"`).join(', ')}`,
    holds: (value) => values.includes(String(value)),
  }
}
