import { homedir } from 'node:os'
import { join } from 'node:path'
import { ownsSystem } from './owns-system.ts'

/**
 * The cache folder when nobody names one: `$XDG_CACHE_HOME/flistfs`; without it `/var/cache/flistfs` for root and
 * `~/.cache/flistfs` for others. A path in XDG_CACHE_HOME that is not absolute counts as unset (the XDG rule).
 */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  const xdg = env['XDG_CACHE_HOME']
  if (xdg?.startsWith('/')) return join(xdg, 'flistfs')
  return ownsSystem() ? '/var/cache/flistfs' : join(homedir(), '.cache', 'flistfs')
}
