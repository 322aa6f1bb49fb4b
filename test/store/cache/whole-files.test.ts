import fs from 'node:fs'
import t from 'tap'
import { segmentPath } from '../../../lib/store/cache/layout.ts'
import { CachedReader } from '../../../lib/store/cache/fetch-once.ts'
import { prepareCodec } from '../../../lib/store/codec-tools.ts'
import { block, blocks, countingReader, MiB, NEVER, openCache, QUIET } from './helpers.ts'

await prepareCodec()
const BLOCK = 512 * 1024
const OWN = { ownSegmentBytesMin: 2 * MiB, bytesMax: 64 * MiB }
const FILE = 'digest:17'

void t.test('blocks with a place share one sparse segment among processes', async (t) => {
  const dir = t.testdir()
  const known = await blocks('own', 6, BLOCK)
  const caches = [await openCache(dir, OWN), await openCache(dir, OWN)]
  const ats = known.map(({ ref, plain }, n) =>
    caches[n % 2]!.put(ref, plain, { file: FILE, offset: n * BLOCK, fileBytes: 6 * BLOCK })!,
  )
  t.equal(new Set(ats.map((at) => at.segment)).size, 1)
  t.strictSame(
    ats.map((at) => at.offset / BLOCK),
    [0, 1, 2, 3, 4, 5],
  )
  for (const cache of caches) cache.flush()
  t.ok(fs.readFileSync(segmentPath(dir, ats[0]!.segment)).equals(Buffer.concat(known.map(({ plain }) => plain))))
  t.equal(caches[0]!.whole.find(FILE), undefined, 'not looked at yet')
  const keys = Buffer.concat(known.map(({ ref }) => ref.key))
  const path = await caches[0]!.whole.assemble(FILE, 6 * BLOCK, keys, 32, NEVER)
  t.equal(path, segmentPath(dir, ats[0]!.segment))
  t.equal(caches[1]!.whole.find(FILE), path, 'whole for all')
  for (const cache of caches) await cache.close()
})

void t.test('assemble() copies what lies elsewhere, repeated blocks and a short last one too', async (t) => {
  const dir = t.testdir()
  const [a, b] = await blocks('parts', 2, BLOCK)
  const tail = await block('tail', 1000)
  const order = [a!, b!, a!, a!, tail]
  const fileBytes = 4 * BLOCK + 1000
  const keys = Buffer.concat(order.map(({ ref }) => ref.key))
  const cache = await openCache(dir, OWN)
  const reader = new CachedReader(cache, countingReader(order), { failureMemoryMs: 0, log: QUIET })
  await reader.get(a!.ref, undefined, NEVER)
  await reader.get(b!.ref, { file: FILE, offset: BLOCK, fileBytes }, NEVER)
  t.equal(await cache.whole.assemble(FILE, fileBytes, keys, 32, NEVER), undefined, 'a block is missing')
  await reader.get(tail.ref, undefined, NEVER)
  t.equal(await cache.whole.assemble(FILE, fileBytes, keys.subarray(0, 4 * 32), 32, NEVER), undefined, 'too few keys')
  t.equal(await cache.whole.assemble('small', MiB, keys.subarray(0, 64), 32, NEVER), undefined, 'too small a file')
  const path = await cache.whole.assemble(FILE, fileBytes, keys, 32, NEVER)
  t.ok(path !== undefined && fs.readFileSync(path).equals(Buffer.concat(order.map(({ plain }) => plain))))
  t.ok(order.every(({ ref, plain }) => cache.read(cache.find(ref.key)!)?.equals(plain)))
  fs.unlinkSync(path!)
  t.equal(cache.whole.find(FILE), undefined, 'its file is gone')
  await cache.close()
})

void t.test('a file that would fill the cache gets no segment of its own', async (t) => {
  const cache = await openCache(t.testdir(), { ...OWN, bytesMax: 8 * MiB })
  const one = await block('huge', BLOCK)
  t.equal(cache.put(one.ref, one.plain, { file: FILE, offset: 5 * BLOCK, fileBytes: 7 * MiB })?.offset, 0)
  await cache.close()
})

void t.test('an own segment whose file was removed is never made again under its id', async (t) => {
  const dir = t.testdir()
  const known = await blocks('again', 2, BLOCK)
  const clock = { ms: 1_700_000_000_000 }
  const options = { ...OWN, now: () => clock.ms }
  const place = (n: number) => ({ file: FILE, offset: n * BLOCK, fileBytes: 4 * BLOCK })
  const first = await openCache(dir, options)
  const at = first.put(known[0]!.ref, known[0]!.plain, place(0))!
  await first.close()
  fs.unlinkSync(segmentPath(dir, at.segment))
  const cache = await openCache(dir, options)
  const shared = cache.put(known[1]!.ref, known[1]!.plain, place(1))!
  t.ok(shared.segment !== at.segment && !fs.existsSync(segmentPath(dir, at.segment)))
  t.equal(cache.find(known[0]!.ref.key), undefined, 'no zeros are found')
  clock.ms += 60_000
  cache.put(known[0]!.ref, known[0]!.plain, place(0))
  await new Promise((resolve) => setTimeout(resolve, 50))
  const later = cache.put(known[1]!.ref, known[1]!.plain, place(1))!
  t.ok(later.segment > at.segment && later.offset === BLOCK, 'a new segment of its own')
  await cache.close()
})
