import type { Command, Option } from 'commander'
import { variableOf } from './settings.ts'

/** A URL with a password, as ARCHIVE. */
const SECRET_URL = /^https?:\/\/[^/?#@]*:[^/?#@]+@/i
/** Options that take the URL of a store or hub. */
const TAKES_URL = /<(?:\[xx-xx=\])?(?:url|store)>/
/** Without one of these no URL has a secret: whether it has is asked of the stores, which are loaded for that. */
const MAYBE = /[@?#]/
/** What an archive is to say of its blocks is without secrets in any case. */
const TOLD_TO_ALL = new Set(['add', 'set', 'remove'])

/**
 * Warns of passwords among the words of a verb, which every user of the machine can read; what settings say comes later, and nobody sees
 * it there.
 */
export async function warnOfSecrets(action: Command, warn: (message: string) => void): Promise<void> {
  const seen = 'is seen by every user in the process list'
  if (action.args.some((word) => SECRET_URL.test(word)))
    warn(`A password in a URL ${seen}; put it into the credentials file (docs/stores.md) instead`)
  const said = action.options.filter((option) => urlsOf(action, option).some((url) => MAYBE.test(url)))
  if (said.length === 0) return
  const { hasInlineSecret } = await import('../lib/commands/secrets-seen.ts')
  for (const option of said) {
    if (!urlsOf(action, option).some((url) => hasInlineSecret(url))) continue
    const isTold = TOLD_TO_ALL.has(option.attributeName())
    const instead = isTold ? 'leave it out' : `put the URL into ${variableOf(option)} instead`
    warn(`A password in ${option.long} ${seen}; ${instead}`)
  }
}

function urlsOf(action: Command, option: Option): string[] {
  const name = option.attributeName()
  if (!TAKES_URL.test(option.flags) || action.getOptionValueSource(name) !== 'cli') return []
  const value: unknown = action.getOptionValue(name)
  return (Array.isArray(value) ? value : [value]).map(String)
}
