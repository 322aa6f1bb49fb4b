import fs from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { pruneCache } from '../../../lib/commands/cache.ts'
import type { BlockCache } from '../../../lib/store/cache/block-cache.ts'
import { segmentFiles } from '../../../lib/store/cache/database.ts'
import { CachedReader } from '../../../lib/store/cache/fetch-once.ts'
import { databasePath, type Location, segmentPath } from '../../../lib/store/cache/layout.ts'
import { cacheSummary } from '../../../lib/store/cache/summary.ts'
import { verifyCache } from '../../../lib/store/cache/verify.ts'
import { blocks, countingReader, NEVER, openCache, QUIET, type TestBlock } from './helpers.ts'

const ALL = { to: undefined, olderMs: undefined, all: true, dryRun: false }

/** Reads all blocks through a cache: how many had to be fetched, and how many were wrong. */
async function readAll(cache: BlockCache, known: readonly TestBlock[]): Promise<{ fetched: number; wrong: number }> {
  const inner = countingReader(known)
  const reader = new CachedReader(cache, inner, { failureMemoryMs: 0, log: QUIET })
  let wrong = 0
  for (const { ref, plain } of known) if (!(await reader.read(ref, NEVER)).equals(plain)) wrong += 1
  await reader[Symbol.asyncDispose]()
  return { fetched: inner.fetched.length, wrong }
}

async function filled(
  t: Test,
  name: string,
  count: number,
  bytes: number,
): Promise<{ dir: string; known: TestBlock[] }> {
  const dir = t.testdir()
  const known = await blocks(name, count, bytes)
  const cache = await openCache(dir)
  for (const { ref, plain } of known) cache.put(ref, plain)
  await cache.close()
  return { dir, known }
}

function alter(dir: string, sql: string): void {
  const db = new DatabaseSync(databasePath(dir))
  db.exec(sql)
  db.close()
}

/** As if the machine had started again: what was written belongs to a boot of before. */
function reboot(dir: string): void {
  alter(dir, "UPDATE boot SET boot_id = 'before-' || n")
}

async function healsAfterwards(t: Test, dir: string, known: readonly TestBlock[]): Promise<void> {
  const cache = await openCache(dir)
  t.strictSame(await readAll(cache, known), { fetched: 0, wrong: 0 }, 'whole again')
  await cache.close()
  t.match(await verifyCache(dir, { repair: false, log: QUIET }, NEVER), { damaged: 0, database: undefined })
}

void t.test('a segment cut while its writer lives gives no zeros for what was cut', async (t) => {
  const dir = t.testdir()
  const known = await blocks('cut', 12, 5000)
  const cache = await openCache(dir)
  for (const { ref, plain } of known.slice(0, 6)) cache.put(ref, plain)
  cache.flush()
  const [segment = 0] = segmentFiles(dir)
  fs.truncateSync(segmentPath(dir, segment), 7000)
  for (const { ref, plain } of known.slice(6)) cache.put(ref, plain)
  cache.flush()
  t.equal((await readAll(cache, known)).wrong, 0)
  await cache.close()
  await healsAfterwards(t, dir, known)
})

void t.test('two machines that use one folder do not write over each other', async (t) => {
  const dir = t.testdir()
  const [known, theirs] = [await blocks('here', 4, 3000), await blocks('there', 4, 3000)]
  const here = await openCache(dir)
  for (const { ref, plain } of known.slice(0, 2)) here.put(ref, plain)
  here.flush()
  alter(dir, "UPDATE process SET boot_id = 'of another machine'")
  const there = await openCache(dir)
  for (const { ref, plain } of theirs) there.put(ref, plain)
  there.flush()
  t.equal(segmentFiles(dir).length, 1, 'whoever cannot be seen to live is taken for dead')
  for (const { ref, plain } of known.slice(2)) here.put(ref, plain)
  here.flush()
  t.strictSame(await readAll(here, [...known, ...theirs]), { fetched: 0, wrong: 0 })
  t.strictSame(await readAll(there, [...known, ...theirs]), { fetched: 0, wrong: 0 })
  await here.close()
  await there.close()
})

void t.test('who checks each block each time reads what was checked', async (t) => {
  const dir = t.testdir()
  const known = await blocks('always', 2, 5000)
  const cache = await openCache(dir, { verifyAlways: true })
  const reader = new CachedReader(cache, countingReader(known), { failureMemoryMs: 0, log: QUIET })
  const [{ ref, plain }] = known as [TestBlock, TestBlock]
  const change = (at: Location | undefined): void => {
    const fd = fs.openSync(segmentPath(dir, at!.segment), 'r+')
    fs.writeSync(fd, 'changed', at!.offset + 100)
    fs.closeSync(fd)
  }
  change(cache.put(ref, plain))
  t.equal(cache.find(ref.key), undefined, 'also a row that is not yet written down')
  const at = cache.put(ref, plain)
  cache.flush()
  t.ok((await reader.get(ref, undefined, NEVER)).bytes?.equals(plain))
  const reading = reader.get(ref, undefined, NEVER)
  change(at)
  t.ok((await reading).bytes?.equals(plain), 'changed after the check, before the read')
  t.strictSame(await readAll(cache, known), { fetched: 2, wrong: 0 })
  await reader[Symbol.asyncDispose]()
  await cache.close()
})

void t.test('a segment cut between two lives is not gone on with', async (t) => {
  const { dir, known } = await filled(t, 'cut-later', 6, 5000)
  const more = await blocks('cut-more', 6, 5000)
  const [segment = 0] = segmentFiles(dir)
  fs.truncateSync(segmentPath(dir, segment), 12_000)
  const cache = await openCache(dir)
  for (const { ref, plain } of more) cache.put(ref, plain)
  cache.flush()
  t.equal((await readAll(cache, [...known, ...more])).wrong, 0)
  await cache.close()
  await healsAfterwards(t, dir, [...known, ...more])
})

void t.test("a large file's segment that was cut is not made longer with zeros", async (t) => {
  const dir = t.testdir()
  const MB = 1024 * 1024
  const known = await blocks('own', 4, 524_288)
  const own = { ownSegmentBytesMin: MB }
  const first = await openCache(dir, own)
  known.forEach(({ ref, plain }, nth) => {
    if (nth < 3) first.put(ref, plain, { file: 'f', offset: nth * 524_288, fileBytes: 2 * MB })
  })
  await first.close()
  const [segment = 0] = segmentFiles(dir)
  fs.truncateSync(segmentPath(dir, segment), 600_000)
  const cache = await openCache(dir, own)
  const last = known[3]!
  t.ok(cache.put(last.ref, last.plain, { file: 'f', offset: 3 * 524_288, fileBytes: 2 * MB }))
  await cache.tidy()
  t.equal((await readAll(cache, known)).wrong, 0)
  await cache.close()
  await healsAfterwards(t, dir, known)
})

void t.test('damaged rows lead to a fetch, not to wrong bytes', async (t) => {
  for (const [name, sql] of [
    ['past the end', 'UPDATE block SET offset = 1e12'],
    ['before the beginning', 'UPDATE block SET offset = -4096'],
    ['no segment', 'UPDATE block SET segment = 4000000'],
    ['not a number', "UPDATE block SET offset = 'x', bytes = 'y'"],
    ['a number too large', 'UPDATE block SET offset = 9223372036854775807'],
    ['too many bytes', 'UPDATE block SET bytes = 99999999'],
    ['another place, of an earlier boot', 'UPDATE block SET offset = offset + 64, boot = 99'],
    ['no runs', 'DELETE FROM run'],
    ['no segments', 'DELETE FROM segment'],
    ['a segment with more bytes than any', 'UPDATE segment SET bytes = 1152921504606846976'],
    ['a segment with an id that none has', 'UPDATE segment SET id = 1152921504606846976'],
    ['pins without length', "INSERT INTO pin VALUES (5, 'x', 0, x'aabb')"],
    ['runs without length', "INSERT INTO run SELECT 999, id, 0, x'aabb' FROM segment"],
    ['a process that none is', 'INSERT INTO process (n) VALUES (1152921504606846976)'],
    ['no claims end', 'INSERT INTO claim SELECT n, 99999, 9e15 FROM (SELECT 1 AS n)'],
  ] as const) {
    await t.test(name, async (t) => {
      const { dir, known } = await filled(t, 'rows', 5, 3000)
      alter(dir, sql)
      const other = `${dir}-other`
      t.teardown(() => fs.rmSync(other, { recursive: true, force: true }))
      fs.cpSync(dir, other, { recursive: true })
      const cache = await openCache(dir)
      t.equal((await readAll(cache, known)).wrong, 0)
      await cache.close()
      await verifyCache(dir, { repair: true, log: QUIET }, NEVER)
      const again = await openCache(dir)
      t.equal((await readAll(again, known)).wrong, 0)
      await again.close()
      await healsAfterwards(t, dir, known)

      // The verbs meet it first, as they do where nothing is mounted.
      await verifyCache(other, { repair: true, log: QUIET }, NEVER)
      t.match(await pruneCache({ ...ALL, cacheDir: other }, QUIET, NEVER), { busySegments: 0, keptSegments: 0 })
      t.match(cacheSummary(other), { segments: 0 })
    })
  }
})

void t.test('a power cut that takes the ends of segments takes those blocks only', async (t) => {
  const { dir, known } = await filled(t, 'power', 20, 9000)
  const [segment = 0] = segmentFiles(dir)
  const path = segmentPath(dir, segment)
  const bytes = fs.readFileSync(path)
  // The size of the file came to the disk, its last pages did not.
  bytes.fill(0, bytes.length - 50_000)
  fs.writeFileSync(path, bytes)
  reboot(dir)
  const cache = await openCache(dir)
  const { fetched, wrong } = await readAll(cache, known)
  t.equal(wrong, 0)
  t.ok(fetched >= 5 && fetched <= 7, `${fetched} of 20 fetched`)
  await cache.close()
  await healsAfterwards(t, dir, known)
})

void t.test('a power cut that takes back the database leaves its later segments alone', async (t) => {
  const dir = t.testdir()
  const known = await blocks('older', 8, 300_000)
  const first = await openCache(dir, { bytesMax: 8 * 1024 * 1024 })
  const old = `${dir}/older.db`
  for (const [nth, { ref, plain }] of known.entries()) {
    first.put(ref, plain)
    first.flush()
    if (nth !== 0) continue
    // As the disk had it then: all of the log is in the database.
    alter(dir, 'PRAGMA wal_checkpoint(TRUNCATE)')
    fs.copyFileSync(databasePath(dir), old)
  }
  await first.close()
  const files = segmentFiles(dir)
  t.ok(files.length >= 2, `${files.length} segments`)
  fs.renameSync(old, databasePath(dir))
  reboot(dir)
  const cache = await openCache(dir, { bytesMax: 8 * 1024 * 1024 })
  t.equal((await readAll(cache, known)).wrong, 0)
  t.ok(cache.isWritable, 'a file of an id that the database does not know yet stops nobody')
  await cache.close()
  await healsAfterwards(t, dir, known)
})

void t.test('a log cut at any place leaves a database that is right', async (t) => {
  const { dir, known } = await filled(t, 'log', 2, 3000)
  const more = await blocks('log-more', 12, 3000)
  const live = await openCache(dir)
  for (const { ref, plain } of more) {
    live.put(ref, plain)
    live.flush()
  }
  const wal = fs.readFileSync(`${databasePath(dir)}-wal`)
  const main = fs.readFileSync(databasePath(dir))
  const segments = segmentFiles(dir)
  const bodies = segments.map((segment) => fs.readFileSync(segmentPath(dir, segment)))
  await live.close()
  let tried = 0
  for (let cut = 0; cut <= wal.length; cut += 5003) {
    const copy = `${dir}/at-${cut}`
    fs.mkdirSync(`${copy}/v1`, { recursive: true, mode: 0o700 })
    fs.writeFileSync(databasePath(copy), main)
    fs.writeFileSync(`${databasePath(copy)}-wal`, wal.subarray(0, cut))
    segments.forEach((segment, nth) => {
      fs.mkdirSync(segmentPath(copy, segment).replace(/\/[^/]+$/, ''), { recursive: true })
      fs.writeFileSync(segmentPath(copy, segment), bodies[nth]!)
    })
    reboot(copy)
    const cache = await openCache(copy)
    const { wrong } = await readAll(cache, [...known, ...more])
    await cache.close()
    const after = await verifyCache(copy, { repair: false, log: QUIET }, NEVER)
    if (wrong + after.damaged > 0 || after.database !== undefined) t.fail(`cut at ${cut}: ${JSON.stringify(after)}`)
    fs.rmSync(copy, { recursive: true })
    tried += 1
  }
  t.ok(tried > 10, `${tried} places`)
})

void t.test('a folder removed under a running process is made anew', async (t) => {
  const dir = t.testdir()
  const known = await blocks('removed', 10, 5000)
  const cache = await openCache(dir)
  t.equal((await readAll(cache, known.slice(0, 5))).wrong, 0)
  fs.rmSync(`${dir}/v1`, { recursive: true })
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.equal((await readAll(cache, known)).wrong, 0)
  await new Promise((resolve) => setTimeout(resolve, 300))
  t.equal((await readAll(cache, known)).wrong, 0)
  await cache.close()
  await healsAfterwards(t, dir, known)
})

void t.test('foreign files in the folder are left alone and stop nobody', async (t) => {
  const { dir, known } = await filled(t, 'foreign', 3, 3000)
  const foreign = [
    'v1/README',
    'v1/segments/zz',
    'v1/segments/00/x.seg',
    'v1/segments/00/01.seg',
    'v1/segments/00/7.seg',
    'v2/a',
  ]
  for (const name of foreign) {
    fs.mkdirSync(`${dir}/${name}`.replace(/\/[^/]+$/, ''), { recursive: true })
    fs.writeFileSync(`${dir}/${name}`, 'mine')
    fs.utimesSync(`${dir}/${name}`, 0, 0)
  }
  const cache = await openCache(dir)
  t.strictSame(await readAll(cache, known), { fetched: 0, wrong: 0 })
  await cache.tidy()
  await cache.close()
  t.match(await verifyCache(dir, { repair: true, log: QUIET }, NEVER), { damaged: 0 })
  fs.mkdirSync(`${dir}/v1/segments/09/9.seg`, { recursive: true })
  fs.mkdirSync(`${dir}/v1/segments/08`)
  fs.symlinkSync('8.seg', `${dir}/v1/segments/08/8.seg`)
  fs.utimesSync(`${dir}/v1/segments/09/9.seg`, 0, 0)
  const again = await openCache(dir)
  t.strictSame(await again.tidy(), [], 'nor folders and links')
  await again.close()
  for (const name of foreign) t.equal(fs.readFileSync(`${dir}/${name}`, 'utf8'), 'mine', name)
})
