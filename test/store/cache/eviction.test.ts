import fs from 'node:fs'
import t from 'tap'
import { segmentPath } from '../../../lib/store/cache/layout.ts'
import { cacheSummary } from '../../../lib/store/cache/summary.ts'
import { prepareCodec } from '../../../lib/store/codec-tools.ts'
import type { BlockCache } from '../../../lib/store/cache/block-cache.ts'
import { block, blocks, MiB, openCache } from './helpers.ts'
import type { TestBlock } from './helpers.ts'

await prepareCodec()
const KiB512 = 512 * 1024

/** Puts blocks as several processes would, one second after the other: each fills a segment of 1 MiB and goes. */
async function fillSegments(dir: string, known: readonly TestBlock[], clock: { ms: number }): Promise<number[]> {
  const segments: number[] = []
  for (let at = 0; at < known.length; at += 2) {
    const cache = await openCache(dir, { bytesMax: 1024 * MiB, now: () => clock.ms })
    for (const { ref, plain } of known.slice(at, at + 2)) segments.push(cache.put(ref, plain)!.segment)
    await cache.close()
    clock.ms += 100_000
  }
  return segments
}

function has(cache: BlockCache, known: readonly TestBlock[]): string {
  return known.map(({ ref }) => (cache.find(ref.key) === undefined ? '-' : 'x')).join('')
}

void t.test('eviction removes whole segments, least recently used first, never a pinned one', async (t) => {
  const dir = t.testdir()
  const clock = { ms: 1_700_000_000_000 }
  const known = await blocks('evict', 12, KiB512)
  // Segments of 2 MiB: four blocks each.
  const setup = await openCache(dir, { bytesMax: 16 * MiB, now: () => clock.ms })
  const segments = known.map(({ ref, plain }, n) => {
    if (n % 4 === 0) clock.ms += 100_000
    const at = setup.put(ref, plain)!
    setup.flush()
    return at.segment
  })
  t.equal(new Set(segments).size, 3)
  setup.pin('keep', known[5]!.ref.key, 32)
  await setup.close()
  t.strictSame(cacheSummary(dir).pins, ['keep'])

  clock.ms += 100_000
  const user = await openCache(dir, { bytesMax: 16 * MiB, now: () => clock.ms })
  user.touch([segments[0]!])
  await user.close()

  clock.ms += 600_000
  const cache = await openCache(dir, { bytesMax: 5 * MiB, now: () => clock.ms })
  t.strictSame(await cache.tidy(), [segments[8]], 'the first was used, the second is pinned')
  t.notOk(fs.existsSync(segmentPath(dir, segments[8]!)))
  t.ok(cacheSummary(dir).bytes <= 5 * MiB)
  t.equal(cacheSummary(dir).blocks, 8)
  cache.unpin('keep')
  await cache.close()
  const smaller = await openCache(dir, { bytesMax: 3 * MiB, now: () => clock.ms })
  t.strictSame(await smaller.tidy(), [segments[4]])
  t.equal(has(smaller, known), 'xxxx--------')
  await smaller.close()
})

void t.test('eviction carries over the blocks that were just used', async (t) => {
  const dir = t.testdir()
  const clock = { ms: 1_700_000_000_000 }
  const known = await blocks('carry', 8, KiB512)
  await fillSegments(dir, known, clock)
  const cache = await openCache(dir, { bytesMax: 3 * MiB, now: () => clock.ms })
  t.ok(cache.find(known[1]!.ref.key) !== undefined)
  await cache.tidy()
  cache.flush()
  const at = cache.find(known[1]!.ref.key)
  t.ok(at !== undefined && cache.read(at)?.equals(known[1]!.plain))
  t.ok(cacheSummary(dir).bytes <= 3 * MiB)
  await cache.close()
})

void t.test('a cache far smaller than what passes through it stays near its limit and serves', async (t) => {
  const dir = t.testdir()
  const cache = await openCache(dir, { bytesMax: 4 * MiB })
  let served = 0
  for (let n = 0; n < 60; n += 1) {
    const one = await block(`through-${n}`, KiB512)
    const at = cache.put(one.ref, one.plain)
    if (at !== undefined && cache.read(at)?.equals(one.plain) === true) served += 1
    cache.flush()
    await new Promise((resolve) => setImmediate(resolve))
    t.ok(cacheSummary(dir).bytes <= 5 * MiB)
  }
  t.ok(served > 30, `${served} of 60 were kept`)
  await cache.close()
})

void t.test('eviction leaves the segment alone that another process writes', async (t) => {
  const dir = t.testdir()
  const known = await blocks('busy', 4, KiB512)
  const writer = await openCache(dir)
  for (const { ref, plain } of known) writer.put(ref, plain)
  writer.flush()
  const cache = await openCache(dir, { bytesMax: MiB })
  t.strictSame(await cache.tidy(), [])
  t.equal(has(writer, known), 'xxxx')
  await writer.close()
  t.equal((await cache.tidy()).length, 1)
  await cache.close()
})

void t.test('a row never points into a segment that was removed meanwhile', async (t) => {
  const dir = t.testdir()
  const one = await block('removed')
  const writer = await openCache(dir)
  const at = writer.put(one.ref, one.plain)!
  const other = await openCache(dir)
  fs.unlinkSync(segmentPath(dir, at.segment))
  await other.forgetSegment(at.segment)
  writer.flush()
  t.equal(other.find(one.ref.key), undefined)
  t.equal(writer.find(one.ref.key), undefined)
  const again = writer.put(one.ref, one.plain)!
  t.ok(again.segment > at.segment)
  writer.flush()
  t.strictSame(other.find(one.ref.key), again)
  await other.close()
  await writer.close()
})

void t.test('a floor of free disk that cannot be kept turns writing off, not reading', async (t) => {
  const dir = t.testdir()
  const one = await block('floor')
  const first = await openCache(dir)
  first.put(one.ref, one.plain)
  await first.close()
  const cache = await openCache(dir, { freeBytesMin: 2 ** 52 })
  const two = await block('floor-2')
  t.equal(cache.put(two.ref, two.plain), undefined)
  await cache.close()
})
