import { lstatSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { LIMITS, namesIn } from '../base/index.ts'

const TORN = {
  archives: /^\.[0-9a-f]{16}\.tmp$/,
  urls: /^[0-9a-f]{64}\.json\.[0-9a-f]{12}\.tmp$/,
  digests: /^(?:\d+-\d+|[0-9a-f]{64})\.\d+\.[0-9a-z]+\.tmp$/,
  index: /^[0-9a-f]{64}\.idx(?:\.ok)?\.\d+\.[0-9a-z]+\.tmp$/,
} as const

/** Takes away what processes that were killed left half written of archives, their records and indexes. Returns its bytes; never throws. */
export function removeTorn(cacheDir: string): number {
  const root = join(cacheDir, 'v1')
  const folders: [string, RegExp][] = [
    ...(['archives', 'urls', 'digests'] as const).map((name): [string, RegExp] => [join(root, name), TORN[name]]),
    ...namesIn(join(root, 'index')).map((layout): [string, RegExp] => [join(root, 'index', layout), TORN.index]),
  ]
  let bytes = 0
  for (const [folder, torn] of folders) {
    for (const name of namesIn(folder)) if (torn.test(name)) bytes += removeOld(join(folder, name))
  }
  return bytes
}

function removeOld(path: string): number {
  try {
    const about = lstatSync(path)
    // Whoever is at work writes: a server that sends nothing for so long is given up before.
    if (!about.isFile() || Math.abs(Date.now() - about.mtimeMs) < LIMITS.orphanAgeMs) return 0
    rmSync(path)
    return about.size
  } catch {
    return 0
  }
}
