import { homedir } from 'node:os'
import { join } from 'node:path'
import { ownsSystem } from './owns-system.ts'
import { xdgFolder } from './xdg.ts'

/**
 * The cache folder when nobody names one: `$XDG_CACHE_HOME/flistfs`; without it `/var/cache/flistfs` for root and
 * `~/.cache/flistfs` for others.
 */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  const xdg = xdgFolder('XDG_CACHE_HOME', env)
  if (xdg !== undefined) return join(xdg, 'flistfs')
  return ownsSystem() ? '/var/cache/flistfs' : join(homedir(), '.cache', 'flistfs')
}
