import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Bench, type Outcome, paired, ratio, type Row } from '../row.ts'
import { shell } from '../shell.ts'

const CHILD = resolve(import.meta.dirname, '../children/slow-link.ts')
/** 20 ms there and back, 200 Mbit/s. */
const DELAY_MS = 10
const BYTES_PER_SECOND = 25_000_000

/** A file read from its start to its end while it comes over a slow link, against fetching all of it first. */
export const link: Row = {
  name: 'link',
  run: async (bench) => {
    const { fixtures } = bench
    const whole = join(fixtures.linkStore, 'whole')
    if (!existsSync(whole)) {
      const shards = readdirSync(fixtures.linkStore).map((shard) => join(fixtures.linkStore, shard))
      shell(`cat ${shards.map((shard) => `${shard}/*`).join(' ')} > ${whole}.tmp && mv ${whole}.tmp ${whole}`)
    }
    const server = spawn(process.execPath, [CHILD, fixtures.linkStore, String(DELAY_MS), String(BYTES_PER_SECOND)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      const [port] = (await once(server.stdout, 'data')) as [Buffer]
      return measure(bench, `http://127.0.0.1:${Number(String(port))}`)
    } finally {
      await end(server)
    }
  },
}

function measure(bench: Bench, url: string): Outcome[] {
  const { systems, fixtures, scale } = bench
  const copy = join(fixtures.work, 'downloaded')
  const medians = paired(Math.min(3, scale.repetitions), {
    flistfs: () => {
      const cache = systems.emptyCache(fixtures.linkArchive)
      const mounted = systems.mountFlistfs({ archive: fixtures.linkArchive, store: url, cache })
      try {
        return shell(`cat ${mounted.directory}/big.bin > /dev/null`).ms / 1000
      } finally {
        mounted.close()
        systems.remove(cache)
      }
    },
    'download, then read': () => {
      const line = `curl -sf -o ${copy} ${url}/whole && cat ${join(fixtures.work, 'link')}/big.bin > /dev/null`
      const { ms } = shell(line)
      systems.remove(copy)
      return ms / 1000
    },
  })
  const figure = ratio(medians, 'flistfs', ['download, then read'])
  const row = 'sequential read through a link of 20 ms and 200 Mbit/s'
  const note = 'the link is a process that delays and paces TCP on loopback'
  return [{ row, unit: 's', medians, figure, figureUnit: 'x', target: { most: 1.05 }, note }]
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}
