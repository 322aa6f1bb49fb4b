import { homedir } from 'node:os'
import { join } from 'node:path'

/** The cache folder when nobody names one: $XDG_CACHE_HOME/flistfs, ~/.cache/flistfs, and /var/cache/flistfs for root. */
export function defaultCacheDir(): string {
  const xdg = process.env['XDG_CACHE_HOME']
  if (xdg?.startsWith('/')) return join(xdg, 'flistfs')
  return process.getuid?.() === 0 ? '/var/cache/flistfs' : join(homedir(), '.cache', 'flistfs')
}
