import { realpathSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { FlistError } from '../base/index.ts'
import { runtimeDir, type ServeOptions } from '../kernel/index.ts'

/**
 * What a server needs must not lie below its own mount: it would look for it there, in vain, or wait for itself. A mount on the
 * root hides nothing from processes that are there. Throws FLIST_USAGE.
 */
export function refuseHidden({ directory, cacheDir, logFile, traceFile, stores, baseDir }: ServeOptions): void {
  if (directory === '/') return
  const needed: [what: string, path: string, hint: string][] = [
    ['the cache folder', cacheDir, 'Name another one with --cache'],
    ['the folder of the records of mounts', runtimeDir(), 'Name another one in FLISTFS_RUNTIME'],
  ]
  if (logFile !== undefined) needed.push(['the log', logFile, 'Name another file with --log'])
  if (traceFile !== undefined) needed.push(['the trace', traceFile, 'Name another file with --trace'])
  for (const store of stores) {
    const [, folder] = /^(?:[\da-f]{2}-[\da-f]{2}=)?dir:(?:\/\/[^/]*)?(.+)$/i.exec(store) ?? []
    if (folder !== undefined) needed.push(['the store', resolve(baseDir, folder), 'Move it elsewhere'])
  }
  for (const [what, path, hint] of needed) {
    if (!`${real(path)}/`.startsWith(`${directory}/`)) continue
    throw new FlistError('FLIST_USAGE', `Cannot mount on "${directory}": ${what} "${path}" would be hidden below it`, {
      hint: `${hint}, or mount on another folder`,
    })
  }
}

/** Of a path that may not be there yet. */
function real(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    const above = dirname(path)
    return above === path ? path : resolve(real(above), path.slice(above.length).replace(/^\//, ''))
  }
}
