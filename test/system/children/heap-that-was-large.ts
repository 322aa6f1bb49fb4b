import { readFileSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { giveBackMemory } from '../../../lib/system/index.ts'

/** Of V8's pages, which are mapped one by one. */
const PAGE_BYTES = 256 * 1024
const KEPT = 100_000

/** Fills the heap with what lives for a while, and lets go of it. */
function work(): void {
  let kept: unknown[] = []
  for (let nth = 0; nth < 30 * KEPT; nth += 1) {
    kept.push([nth, { nth }])
    if (kept.length > 2 * KEPT) kept = kept.slice(KEPT)
  }
}

/** Resident bytes of all mappings that are as large as one of V8's pages. */
function residentPages(): number {
  let isPage = false
  let sum = 0
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) ?? []
    if (from !== '') isPage = parseInt(to, 16) - parseInt(from, 16) === PAGE_BYTES
    else if (isPage) sum += Number(/^Rss: +(\d+)/.exec(line)?.[1] ?? 0) * 1024
  }
  return sum
}

work()
const full = residentPages()
giveBackMemory()
parentPort?.postMessage({ full, left: residentPages() })
