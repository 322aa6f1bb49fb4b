import { statSync } from 'node:fs'
import { resolve } from 'node:path'

/** What holds for every mount of this machine, whatever its words say. */
export const SYSTEM_POLICY = '/etc/flistfs/policy.toml'

/** The policies to obey, all of them: one call where there is none. One that was named must be there, which reading it says. */
export function policyFiles(named: string | undefined): string[] {
  const files = named === undefined || named === '' ? [] : [resolve(named)]
  return isThere() ? [SYSTEM_POLICY, ...files] : files
}

/** What cannot be looked at may be there: reading it says why not. */
function isThere(): boolean {
  try {
    return statSync(SYSTEM_POLICY, { throwIfNoEntry: false }) !== undefined
  } catch {
    return true
  }
}
