import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Outcome, Row } from '../row.ts'
import type { Mounted } from '../systems.ts'

const MOUNTS = 100

/** What a hundred mounts of one server hold resident in all their processes: server, supervisor, holders. */
export const many: Row = {
  name: 'many',
  run: ({ systems, fixtures }): Outcome[] => {
    const store = `dir://${fixtures.store}`
    const cache = join(fixtures.work, 'cache')
    const mounts: Mounted[] = []
    const mount = (): void => void mounts.push(systems.mountFlistfs({ archive: fixtures.linkArchive, store, cache }))
    try {
      mount()
      readSome(mounts)
      const one = residentMegabytes(systems.env['FLISTFS_RUNTIME'] ?? '')
      while (mounts.length < MOUNTS) mount()
      readSome(mounts)
      const all = residentMegabytes(systems.env['FLISTFS_RUNTIME'] ?? '')
      const each = (all.rss - one.rss) / (MOUNTS - 1)
      const medians = {
        one: one.rss,
        all: all.rss,
        'each further': each,
        'of its own': (all.pss - one.pss) / (MOUNTS - 1),
      }
      const row = '100 archives mounted, each further one'
      return [{ row, unit: 'MB', medians, figure: each, figureUnit: 'MB', target: { most: 10 } }]
    } finally {
      for (const mounted of mounts) mounted.close()
    }
  },
}

/** A listing and a file of each, from this process: another one serves them. */
function readSome(mounts: readonly Mounted[]): void {
  for (const { directory } of mounts) {
    const entry = readdirSync(directory, { recursive: true, withFileTypes: true }).find((found) => found.isFile())
    if (entry !== undefined) readFileSync(join(entry.parentPath, entry.name))
  }
}

/** Of the processes that were started with this runtime folder. */
function residentMegabytes(runtime: string): { rss: number; pss: number } {
  const sum = { rss: 0, pss: 0 }
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)) {
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`FLISTFS_RUNTIME=${runtime}\0`)) continue
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
      const field = (name: string): number =>
        (Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(text)?.[1]) * 1024) / 1e6
      sum.rss += field('Rss')
      sum.pss += field('Pss')
    } catch {
      // Ended meanwhile, or another user's.
    }
  }
  return sum
}
