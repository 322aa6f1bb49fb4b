import { getHeapSpaceStatistics } from 'node:v8'
import { parentPort } from 'node:worker_threads'

const KEPT = 20_000

/** Bytes of the space of the young. */
function young(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? 0
}

/** Objects that live for a while make V8 give their space more room. */
function work(): number {
  let most = 0
  let kept: unknown[] = []
  for (let nth = 0; nth < 30 * KEPT; nth += 1) {
    kept.push([nth, { nth }])
    if (kept.length <= 2 * KEPT) continue
    kept = kept.slice(KEPT)
    most = Math.max(most, young())
  }
  return most
}

parentPort?.postMessage(work())
