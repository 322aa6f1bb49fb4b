import { existsSync } from 'node:fs'
import { resolve } from 'node:path'

/** The whole golden set where it is present: $FLISTFS_GOLDEN, or `shared/golden` beside the checkout. */
export function goldenDir(): string | undefined {
  const named = process.env['FLISTFS_GOLDEN']
  const candidates = named ? [named] : [resolve(import.meta.dirname, '../../shared/golden')]
  return candidates.find((dir) => existsSync(`${dir}/fl/hand.fl`))
}

/** The reason to give `t.test(name, { skip })` where the golden set is absent. */
export const NO_GOLDEN = goldenDir() === undefined && 'golden set not present: set FLISTFS_GOLDEN to its folder'
