import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Outcome, Row } from '../row.ts'
import { shell } from '../shell.ts'

/** What the server holds resident right after somebody walked over a million inodes. */
export const memory: Row = {
  name: 'memory',
  run: (bench): Outcome[] => {
    const { systems, fixtures } = bench
    const cache = join(fixtures.work, 'cache')
    const mounted = systems.mountFlistfs({
      archive: fixtures.hugeArchive,
      store: `dir://${fixtures.store}`,
      cache,
    })
    try {
      const idle = residentBytes(mounted.pid)
      shell(`find ${mounted.directory} -printf '%s %m\\n' > /dev/null`)
      const walked = residentBytes(mounted.pid)
      const { mappedIndexBytes } = systems.stats(mounted).memory
      const medians = {
        mounted: idle.all,
        walked: walked.all,
        'of which index': mappedIndexBytes / 1e6,
        'of which own': walked.own,
      }
      const row = 'memory of the server after walking 1 M inodes'
      return [{ row, unit: 'MB', medians, figure: walked.all, figureUnit: 'MB', target: { most: 120 } }]
    } finally {
      mounted.close()
    }
  },
}

/** Resident megabytes, and those that are not pages of files. */
function residentBytes(pid: number): { all: number; own: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  const field = (name: string): number => (Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(text)?.[1]) * 1024) / 1e6
  return { all: field('Rss'), own: field('Anonymous') }
}
