import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bench, Outcome, Row } from '../row.ts'
import { shell } from '../shell.ts'
import type { Mounted } from '../systems.ts'

const READERS = 2
/** Ends of servers while the readers read, and what lies between them. */
const ENDS = 20
const EVERY_MS = 1000
/** Seconds the readers go on after the last of them. */
const AFTER_SECONDS = 3
const TARGET_MS = 500
const CHILD = resolve(import.meta.dirname, '../children/direct-reads.ts')

interface Reading {
  readonly reads: number
  readonly errors: number
  readonly longestMs: number
}

/** The longest that a reader waits while the server is killed, and while it is replaced, once a second. */
export const killed: Row = {
  name: 'killed',
  run: async (bench): Promise<Outcome[]> => {
    const { systems, fixtures } = bench
    const cache = systems.emptyCache(fixtures.linkArchive)
    const mounted = systems.mountFlistfs({ archive: fixtures.linkArchive, store: `dir://${fixtures.linkStore}`, cache })
    try {
      // All of it is in the cache then.
      shell(`cat ${join(mounted.directory, 'big.bin')} > /dev/null`)
      const kill = (): void => void process.kill(serverOf(bench, mounted), 'SIGKILL')
      const upgrade = (): void => void shell(`sh ${systems.program} upgrade ${mounted.directory}`, systems.env)
      return [
        await longest('server killed -9 under two readers, longest read', kill, mounted),
        await longest('server replaced by `upgrade` under two readers, longest read', upgrade, mounted),
      ]
    } finally {
      mounted.close()
    }
  },
}

async function longest(row: string, end: () => void, { directory }: Mounted): Promise<Outcome> {
  const seconds = (ENDS * EVERY_MS) / 1000 + AFTER_SECONDS
  const readers = Array.from({ length: READERS }, () => reader(join(directory, 'big.bin'), seconds))
  for (let nth = 0; nth < ENDS; nth += 1) {
    await sleep(EVERY_MS)
    end()
  }
  const done = await Promise.all(readers)
  const figure = Math.max(...done.map(({ longestMs }) => longestMs))
  const sum = (what: 'reads' | 'errors'): number => done.reduce((all, one) => all + one[what], 0)
  // A reader that got an error did not wait.
  const failed = sum('errors') === 0 ? undefined : { flistfs: `${sum('errors')} errors` }
  const note = `${ENDS} times, ${sum('reads')} reads, ${sum('errors')} errors`
  return {
    row,
    unit: 'ms',
    medians: { flistfs: figure },
    failed,
    figure,
    figureUnit: 'ms',
    target: { most: TARGET_MS },
    note,
  }
}

function reader(file: string, seconds: number): Promise<Reading> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [CHILD, file, String(seconds)], { timeout: seconds * 10_000 }, (error, stdout) =>
      error === null ? resolve(JSON.parse(stdout) as Reading) : reject(error),
    )
  })
}

/** As its record says now: each of them has another. */
function serverOf({ systems }: Bench, { directory }: Mounted): number {
  const runtime = systems.env['FLISTFS_RUNTIME'] ?? ''
  for (const name of readdirSync(runtime).filter((file) => file.endsWith('.json'))) {
    const record = JSON.parse(readFileSync(join(runtime, name), 'utf8')) as { directory: string; pid: number }
    if (record.directory === directory) return record.pid
  }
  throw new Error(`no record of ${directory}`)
}
