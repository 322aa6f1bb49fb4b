import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import t from 'tap'
import { segmentPath } from '../../../lib/store/cache/layout.ts'
import { cacheSummary } from '../../../lib/store/cache/summary.ts'
import { prepareCodec } from '../../../lib/store/codec-tools.ts'
import { CachedReader } from '../../../lib/store/cache/fetch-once.ts'
import { startChild } from './children/child.ts'
import { block, blocks, countingReader, MiB, NEVER, openCache, QUIET, randomKey } from './helpers.ts'

await prepareCodec()

/** Runs SQL on a cache's database from outside. */
function alter(dir: string, sql: string): void {
  const db = new DatabaseSync(`${dir}/v1/cache.db`)
  db.exec(sql)
  db.close()
}

void t.test('put() keeps blocks that find() gives back, also to another process and after a restart', async (t) => {
  const dir = t.testdir()
  const known = await blocks('put', 30, 5000)
  const cache = await openCache(dir)
  const other = await openCache(dir)
  for (const { ref, plain } of known) {
    const at = cache.put(ref, plain)
    t.ok(at !== undefined && at.offset % 64 === 0 && at.bytes === 5000)
    t.strictSame(cache.find(ref.key), at, 'found before it is committed')
  }
  cache.flush()
  for (const { ref, plain } of known) {
    const at = other.find(ref.key)!
    t.ok(
      fs
        .readFileSync(segmentPath(dir, at.segment))
        .subarray(at.offset, at.offset + at.bytes)
        .equals(plain),
    )
  }
  t.equal(other.find(randomKey()), undefined)
  await cache.close()
  await other.close()
  t.match(cacheSummary(dir), { blocks: 30, segments: 1, bytesMax: 1024 * MiB, pins: { length: 0 } })
  const later = await openCache(dir)
  t.ok(known.every(({ ref, plain }) => later.read(later.find(ref.key)!)?.equals(plain)))
  const extra = await block('extra')
  t.equal(
    later.put(extra.ref, extra.plain)?.segment,
    later.find(known[0]!.ref.key)?.segment,
    'the segment of a process that ended is adopted',
  )
  await later.close()
  t.equal(fs.statSync(`${dir}/v1`).mode & 0o777, 0o700)
})

void t.test('put() lays blocks of 512 KiB adjacent and begins a new segment at its limit', async (t) => {
  const dir = t.testdir()
  const cache = await openCache(dir, { bytesMax: 16 * MiB })
  const ats = (await blocks('big', 6, 512 * 1024)).map(({ ref, plain }) => cache.put(ref, plain)!)
  t.strictSame(
    ats.map((at) => at.offset / 1024),
    [0, 512, 1024, 1536, 0, 512],
  )
  t.equal(new Set(ats.map((at) => at.segment)).size, 2)
  t.throws(
    () => cache.put({ format: 'fl', id: randomKey(), key: randomKey(), plainBytes: 0 }, Buffer.alloc(0)),
    RangeError,
  )
  await cache.close()
})

void t.test('find() gives what was put, for any sizes and orders', async (t) => {
  const cache = await openCache(t.testdir())
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 1, max: 70_000 }), fc.constantFrom(16, 32)), { maxLength: 20 }),
      (sizes) => {
        const put = sizes.map(([bytes, keyBytes]) => {
          const plain = randomBytes(bytes)
          const key = randomBytes(keyBytes)
          cache.put({ format: 'fl', id: key, key, plainBytes: bytes }, plain)
          return { key, plain }
        })
        cache.flush()
        return put.every(({ key, plain }) => cache.read(cache.find(key)!)?.equals(plain))
      },
    ),
    { numRuns: 30 },
  )
  await cache.close()
})

void t.test('findMany() finds what is cached among a file of keys', async (t) => {
  const cache = await openCache(t.testdir())
  const known = await blocks('many', 10)
  for (const n of [2, 3, 7]) cache.put(known[n]!.ref, known[n]!.plain)
  cache.flush()
  const keys = Buffer.concat(known.map(({ ref }) => ref.key))
  const found: number[] = []
  t.equal(
    cache.findMany(keys, 32, 3, 10, (n, at) => found.push(n + at.bytes)),
    2,
  )
  t.strictSame(found, [3 + 4096, 7 + 4096])
  await cache.close()
})

void t.test('find() verifies what an earlier boot wrote, and forgets what is wrong', async (t) => {
  const dir = t.testdir()
  const known = await blocks('boot', 3)
  const writer = await openCache(dir)
  const ats = known.map(({ ref, plain }) => writer.put(ref, plain)!)
  await writer.close()
  alter(dir, 'UPDATE block SET boot = 999')
  const file = segmentPath(dir, ats[1]!.segment)
  const fd = fs.openSync(file, 'r+')
  fs.writeSync(fd, Buffer.from([known[1]!.plain[7]! ^ 1]), 0, 1, ats[1]!.offset + 7)
  fs.closeSync(fd)

  const cache = await openCache(dir)
  const keys = Buffer.concat(known.map(({ ref }) => ref.key))
  t.equal(
    cache.findMany(keys, 32, 0, 3, () => {}),
    0,
    'nothing is believed unverified',
  )
  t.strictSame(cache.find(known[0]!.ref.key), ats[0])
  t.equal(cache.find(known[1]!.ref.key), undefined, 'the flipped bit is seen')
  t.strictSame(cache.find(known[2]!.ref.key), ats[2])
  cache.flush()
  t.equal(
    cache.findMany(keys, 32, 0, 3, () => {}),
    2,
    'verified once',
  )
  const inner = countingReader(known)
  const reader = new CachedReader(cache, inner, { failureMemoryMs: 0, log: QUIET })
  t.ok((await reader.read(known[1]!.ref, NEVER)).equals(known[1]!.plain))
  t.strictSame(inner.fetched, [known[1]!.ref.id.toString('hex')], 'fetched again')
  await cache.close()
})

void t.test('find() and read() cope with a truncated segment', async (t) => {
  const dir = t.testdir()
  const known = await blocks('short', 4)
  const writer = await openCache(dir)
  const ats = known.map(({ ref, plain }) => writer.put(ref, plain)!)
  await writer.close()
  const cache = await openCache(dir)
  t.strictSame(cache.find(known[3]!.ref.key), ats[3])
  fs.truncateSync(segmentPath(dir, ats[0]!.segment), ats[2]!.offset + 10)
  const inner = countingReader(known)
  const reader = new CachedReader(cache, inner, { failureMemoryMs: 0, log: QUIET })
  for (const { ref, plain } of known) t.ok((await reader.read(ref, NEVER)).equals(plain))
  t.strictSame(inner.fetched, [known[2]!.ref.id.toString('hex'), known[3]!.ref.id.toString('hex')])
  await cache.close()
})

void t.test('forgetSegment() forgets a segment whose file is gone, and no other', async (t) => {
  const dir = t.testdir()
  const known = await blocks('gone', 3)
  const cache = await openCache(dir)
  const ats = known.map(({ ref, plain }) => cache.put(ref, plain)!)
  cache.flush()
  await cache.forgetSegment(ats[0]!.segment)
  t.strictSame(cache.find(known[0]!.ref.key), ats[0], 'the file is there')
  fs.unlinkSync(segmentPath(dir, ats[0]!.segment))
  await cache.forgetSegment(ats[0]!.segment)
  t.ok(known.every(({ ref }) => cache.find(ref.key) === undefined))
  const at = cache.put(known[0]!.ref, known[0]!.plain)
  t.ok(at !== undefined && at.segment !== ats[0]!.segment && fs.existsSync(segmentPath(dir, at.segment)))
  await cache.close()
  t.match(cacheSummary(dir), { blocks: 1, segments: 1 })
})

void t.test('the cache goes on in a new folder when its folder is removed', async (t) => {
  const dir = t.testdir()
  const cache = await openCache(dir)
  const [one, two] = [await block('one'), await block('two')]
  const before = cache.put(one.ref, one.plain)!
  cache.flush()
  fs.rmSync(`${dir}/v1`, { recursive: true })
  await cache.forgetSegment(before.segment)
  t.equal(cache.find(one.ref.key), undefined)
  const after = cache.put(two.ref, two.plain)!
  t.ok(fs.existsSync(segmentPath(dir, after.segment)))
  t.ok(after.segment > before.segment, 'an id is never used again')
  t.ok(cache.isWritable)
  await cache.close()
  t.match(cacheSummary(dir), { blocks: 1, segments: 1 })
})

void t.test('open() sets a damaged database aside and starts anew', async (t) => {
  const dir = t.testdir()
  const one = await block('damaged')
  const first = await openCache(dir)
  const before = first.put(one.ref, one.plain)!
  await first.close()
  fs.writeFileSync(`${dir}/v1/cache.db`, 'this is no database, whatever its name says '.repeat(100))
  const cache = await openCache(dir)
  t.ok(fs.readdirSync(`${dir}/v1`).some((name) => name.startsWith('cache.db.damaged-')))
  t.equal(cache.find(one.ref.key), undefined)
  t.ok(cache.put(one.ref, one.plain)!.segment > before.segment)
  t.ok(fs.existsSync(segmentPath(dir, before.segment)), 'its segment is an orphan now')
  t.strictSame(await cache.tidy(), [], 'too young to be removed')
  const old = new Date(Date.now() - 3_600_000)
  fs.utimesSync(segmentPath(dir, before.segment), old, old)
  t.strictSame(await cache.tidy(), [before.segment])
  await cache.close()
})

void t.test('a database that is damaged under a running process starts anew', async (t) => {
  const dir = t.testdir()
  const known = await blocks('later', 2000)
  const writer = await openCache(dir)
  for (const { ref, plain } of known) writer.put(ref, plain)
  await writer.close()
  const cache = await openCache(dir)
  const size = fs.statSync(`${dir}/v1/cache.db`).size
  const fd = fs.openSync(`${dir}/v1/cache.db`, 'r+')
  fs.writeSync(fd, randomBytes(size - 4096), 0, size - 4096, 4096)
  fs.closeSync(fd)
  for (const { ref } of known) cache.find(ref.key)
  const one = await block('new')
  t.ok(cache.put(one.ref, one.plain) !== undefined)
  cache.flush()
  t.ok(cache.find(one.ref.key) !== undefined)
  t.ok(fs.readdirSync(`${dir}/v1`).some((name) => name.startsWith('cache.db.damaged-')))
  await cache.close()
})

void t.test('open() refuses a newer layout and a folder that others may write', async (t) => {
  const dir = t.testdir()
  await (await openCache(dir)).close()
  alter(dir, 'PRAGMA user_version = 2')
  await t.rejects(openCache(dir), { code: 'FLIST_CACHE_UNUSABLE', hint: /newer flistfs/ })
  alter(dir, 'PRAGMA user_version = 1')
  fs.chmodSync(`${dir}/v1`, 0o777)
  await t.rejects(openCache(dir), { code: 'FLIST_CACHE_UNUSABLE' })
})

void t.test('foreign files in the folder are left alone', async (t) => {
  const dir = t.testdir({
    v1: {
      segments: { '07': { 'notes.txt': 'mine', '8.seg': 'wrong folder', '7.seg': 'orphan' }, zz: { '1.seg': '' } },
      'my.txt': '',
    },
  })
  fs.chmodSync(`${dir}/v1`, 0o700)
  const old = new Date(Date.now() - 3_600_000)
  for (const name of ['notes.txt', '8.seg', '7.seg']) fs.utimesSync(`${dir}/v1/segments/07/${name}`, old, old)
  const cache = await openCache(dir)
  t.strictSame(await cache.tidy(), [7])
  t.strictSame(fs.readdirSync(`${dir}/v1/segments/07`).sort(), ['8.seg', 'notes.txt'])
  t.ok(fs.existsSync(`${dir}/v1/segments/zz/1.seg`) && fs.existsSync(`${dir}/v1/my.txt`))
  await cache.close()
})

void t.test('what a killed process left is whole, and its segment is continued', async (t) => {
  const dir = t.testdir()
  const child = startChild('put-for-ever.ts', [dir, 'crash'])
  for (let line = ''; line !== '300';) line = await child.line()
  child.process.kill('SIGKILL')
  await child.ended
  const cache = await openCache(dir)
  const known = await blocks('crash', 400, 3000)
  const found = known.filter(({ ref }) => cache.find(ref.key) !== undefined)
  t.ok(found.length >= 200, `${found.length} blocks were committed`)
  t.ok(found.every(({ ref, plain }) => cache.read(cache.find(ref.key)!)?.equals(plain)))
  const first = cache.find(found[0]!.ref.key)!
  const next = await block('next')
  const at = cache.put(next.ref, next.plain)!
  t.equal(at.segment, first.segment)
  t.ok(
    found.every(({ ref, plain }) => cache.read(cache.find(ref.key)!)?.equals(plain)),
    'nothing is written over',
  )
  await cache.close()
})

void t.test('put() goes elsewhere when its segment file is removed', async (t) => {
  const dir = t.testdir()
  const cache = await openCache(dir)
  const [one, two] = await blocks('unlinked', 2)
  const at = cache.put(one!.ref, one!.plain)!
  fs.unlinkSync(segmentPath(dir, at.segment))
  await cache.forgetSegment(at.segment)
  const next = cache.put(two!.ref, two!.plain)!
  t.ok(next.segment !== at.segment && cache.read(next)?.equals(two!.plain))
  await cache.close()
})
