import { mkdtempSync, rmSync } from 'node:fs'
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { SILENT } from '../lib/base/index.ts'
import { BlockCache } from '../lib/store/cache/block-cache.ts'
import { CachedReader } from '../lib/store/cache/fetch-once.ts'
import { prepareCodec } from '../lib/store/codec-tools.ts'
import type { BlockRef } from '../lib/store/port.ts'

// Processor time the cache costs a block: find, claim, write, commit. The store answers at once, from memory.
const NEVER = new AbortController().signal

async function measure(label: string, count: number, bytes: number, inFlight: number): Promise<void> {
  const dir = mkdtempSync(`${tmpdir()}/flistfs-bench-`)
  try {
    const plain = randomBytes(bytes)
    const refs = Array.from({ length: count }, (): BlockRef => ({
      format: 'fl',
      id: randomBytes(32),
      key: randomBytes(32),
      plainBytes: bytes,
    }))
    const cache = await BlockCache.open(dir, { bytesMax: 8 * 1024 ** 3, freeBytesMin: 0, log: SILENT })
    const inner = { read: () => Promise.resolve(plain), [Symbol.asyncDispose]: () => Promise.resolve() }
    const reader = new CachedReader(cache, inner, { failureMemoryMs: 2000, log: SILENT })
    let next = 0
    const lane = async (): Promise<void> => {
      for (let ref = refs[next]; ref !== undefined; ref = refs[next]) {
        next += 1
        await reader.get(ref, undefined, NEVER)
      }
    }
    const first = await timed(async () => {
      await Promise.all(Array.from({ length: inFlight }, lane))
      cache.flush()
    })
    next = 0
    const again = await timed(() => Promise.all(Array.from({ length: inFlight }, lane)))
    const keys = Buffer.concat(refs.map((ref) => ref.key))
    const table = await timed(() => Promise.resolve(cache.findMany(keys, 32, 0, count, () => {})))
    const each = (ms: number): string => `${((1000 * ms) / count).toFixed(1)} us`
    console.log(
      `${label}: first ${each(first)}, again ${each(again)}, findMany ${each(table)} a block (${reader.counters.fetched} fetched)`,
    )
    await cache.close()
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** Processor milliseconds: the machine may have other work. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = process.cpuUsage()
  await work()
  const used = process.cpuUsage(start)
  return (used.user + used.system) / 1000
}

await prepareCodec()
for (const inFlight of [64, 1, 16, 64, 256, 10_000])
  await measure(`10,000 x 4 KiB, ${inFlight} in flight`, 10_000, 4096, inFlight)
await measure('400 x 512 KiB, 16 in flight', 400, 512 * 1024, 16)
