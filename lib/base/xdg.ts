import { homedir } from 'node:os'
import { join } from 'node:path'

/** What a variable of the XDG base directory specification names; a path that is not absolute counts as unset, as it says. */
export function xdgFolder(
  name: 'XDG_CACHE_HOME' | 'XDG_CONFIG_HOME' | 'XDG_RUNTIME_DIR',
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  const named = env[name]
  return named?.startsWith('/') ? named : undefined
}

/** Where a user's settings lie: `$XDG_CONFIG_HOME`, without it `~/.config`. */
export function configHome(env: NodeJS.ProcessEnv = process.env): string {
  return xdgFolder('XDG_CONFIG_HOME', env) ?? join(env['HOME'] || homedir(), '.config')
}
