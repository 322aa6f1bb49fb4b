import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { LIMITS } from '../../../lib/base/index.ts'
import { segmentFiles } from '../../../lib/store/cache/database.ts'
import { CachedReader } from '../../../lib/store/cache/fetch-once.ts'
import { databasePath } from '../../../lib/store/cache/layout.ts'
import { cacheSummary } from '../../../lib/store/cache/summary.ts'
import { verifyCache } from '../../../lib/store/cache/verify.ts'
import { CacheView } from '../../../lib/store/cache/view.ts'
import type { BlockReader } from '../../../lib/store/port.ts'
import { startChild } from './children/child.ts'
import { blocks, countingReader, MiB, NEVER, openCache, QUIET, type TestBlock } from './helpers.ts'

const skip = process.geteuid?.() === 0 ? false : 'needs root to mount read-only'

/** A read-only view of `dir` beside it; unmounted at the end. Undefined where mounting is not allowed. */
function readOnlyView(t: Test, dir: string): string | undefined {
  const view = fs.mkdtempSync(`${tmpdir()}/flistfs-test-`)
  let mounted = false
  t.teardown(() => {
    if (mounted) execFileSync('umount', ['-l', view], { timeout: 120_000 })
    fs.rmdirSync(view)
  })
  try {
    execFileSync('mount', ['--bind', dir, view], { stdio: 'ignore', timeout: 120_000 })
    mounted = true
    execFileSync('mount', ['-o', 'remount,ro,bind', view], { stdio: 'ignore', timeout: 120_000 })
    return view
  } catch {
    t.comment('SKIPPED: a folder cannot be mounted read-only here')
    return undefined
  }
}

async function readsAll(t: Test, dir: string, known: readonly TestBlock[], fetched: number): Promise<void> {
  const cache = await openCache(dir)
  const inner = countingReader(known)
  const reader = new CachedReader(cache, inner, { failureMemoryMs: 0, log: QUIET })
  for (const { ref, plain } of known) t.ok((await reader.read(ref, NEVER)).equals(plain))
  t.equal(inner.fetched.length, fetched)
  await cache.close()
}

void t.test('a filled cache on a read-only disk is read, and nothing in it is written', { skip }, async (t) => {
  const dir = t.testdir({ cache: {} })
  const known = await blocks('image', 10)
  const cache = await openCache(`${dir}/cache`)
  for (const { ref, plain } of known.slice(0, 8)) cache.put(ref, plain)
  cache.pin('image', known[0]!.ref.key, 32)
  await cache.close()
  const before = fs.readdirSync(`${dir}/cache/v1`)
  t.strictSame(before.toSorted(), ['cache.db', 'segments'], 'no log is left by who closes')
  const view = readOnlyView(t, `${dir}/cache`)
  if (view === undefined) return
  await readsAll(t, view, known, 2)
  t.match(cacheSummary(view), { blocks: 8, pins: ['image'] })
  const listed = CacheView.open(view)!
  const keys = Buffer.concat(known.map(({ ref }) => ref.key))
  t.strictSame(await listed.share(keys, 32, NEVER), { blocks: 8, bytes: 8 * 4096 })
  listed.close()
  t.match(await verifyCache(view, { repair: false, log: QUIET }, NEVER), { blocks: 8, damaged: 0 })
  await t.rejects(verifyCache(view, { repair: true, log: QUIET }, NEVER), { code: 'FLIST_CACHE_UNUSABLE' })
  t.strictSame(fs.readdirSync(`${dir}/cache/v1`), before)
})

void t.test('damage in a cache on a read-only disk is noticed', { skip }, async (t) => {
  const dir = t.testdir({ cache: {} })
  const known = await blocks('image-damaged', 6)
  const cache = await openCache(`${dir}/cache`)
  for (const { ref, plain } of known) cache.put(ref, plain)
  await cache.close()
  const [segment = 0] = segmentFiles(`${dir}/cache`)
  const path = `${dir}/cache/v1/segments/${(segment % 256).toString(16).padStart(2, '0')}/${segment}.seg`
  fs.writeFileSync(path, fs.readFileSync(path).fill(0, 5000, 5001))
  const view = readOnlyView(t, `${dir}/cache`)
  if (view !== undefined) await readsAll(t, view, known, 1)
})

void t.test('a cache whose writer died, or writes now, is read through a read-only view too', { skip }, async (t) => {
  const dir = t.testdir({ cache: {} })
  const child = startChild('put-for-ever.ts', [`${dir}/cache`, 'dying'])
  await child.line()
  await child.line()
  child.process.kill('SIGKILL')
  await child.ended
  t.ok(fs.existsSync(`${databasePath(`${dir}/cache`)}-wal`), 'its log is there')
  const view = readOnlyView(t, `${dir}/cache`)
  if (view === undefined) return
  const known = await blocks('dying', 50, 3000)
  await readsAll(t, view, known, 0)

  const reading = await openCache(view)
  const isThere = async ({ ref, plain }: TestBlock): Promise<boolean> => {
    for (const end = Date.now() + 120_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 50))) {
      const at = reading.find(ref.key)
      if (at !== undefined) return reading.read(at)?.equals(plain) === true
    }
    return false
  }
  // In processes of their own: in one process SQLite would share the index of the log that cannot be written.
  const living = startChild('put-for-ever.ts', [`${dir}/cache`, 'living'])
  await living.line()
  await living.line()
  const [first] = await blocks('living', 1, 3000)
  t.ok(await isThere(first!), 'what is written meanwhile is found')
  living.process.kill('SIGKILL')
  await living.ended
  const closing = startChild('get-blocks.ts', [`${dir}/cache`, 'closing', '5'])
  await closing.line()
  closing.process.stdin.write('go\n')
  t.match(JSON.parse(await closing.line()), { wrong: 0 })
  await closing.ended
  const [last] = await blocks('closing', 1)
  t.ok(await isThere(last!), 'and after the writer has closed')
  await reading.close()
})

void t.test('a disk that can be written again is written again', { skip }, async (t) => {
  const dir = t.testdir({ cache: {} })
  const [one, two] = await blocks('again', 2)
  const first = await openCache(`${dir}/cache`)
  first.put(one!.ref, one!.plain)
  await first.close()
  const view = readOnlyView(t, `${dir}/cache`)
  if (view === undefined) return
  const cache = await openCache(view)
  const reader = new CachedReader(cache, countingReader([one!, two!]), { failureMemoryMs: 0, log: QUIET })
  t.ok((await reader.get(one!.ref, undefined, NEVER)).location)
  t.match(await reader.get(two!.ref, undefined, NEVER), { location: undefined })
  execFileSync('mount', ['-o', 'remount,rw,bind', view], { timeout: 120_000 })
  const deadline = performance.now() + 120_000
  while (!cache.isWritable && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50))
  t.ok((await reader.get(two!.ref, undefined, NEVER)).location, 'kept')
  await cache.close()
  await readsAll(t, `${dir}/cache`, [one!, two!], 0)
})

void t.test('a newer layout is refused, for reading and writing, and left as it is', async (t) => {
  const dir = t.testdir()
  const [one] = await blocks('newer', 1)
  const cache = await openCache(dir)
  cache.put(one!.ref, one!.plain)
  cache.flush()
  const db = new DatabaseSync(databasePath(dir))
  db.exec('PRAGMA user_version = 2; ALTER TABLE block ADD COLUMN crc INTEGER')
  db.close()
  t.ok(cache.read(cache.find(one!.ref.key)!)?.equals(one!.plain), 'who has it open goes on')
  await cache.close()
  const unusable = { code: 'FLIST_CACHE_UNUSABLE', message: /its layout is 2, this flistfs knows 1/ }
  await t.rejects(openCache(dir), unusable)
  t.throws(() => CacheView.open(dir), unusable)
  t.throws(() => cacheSummary(dir), unusable)
  await t.rejects(verifyCache(dir, { repair: true, log: QUIET }, NEVER), unusable)
  const after = new DatabaseSync(databasePath(dir), { readOnly: true })
  t.match(after.prepare('SELECT count(*) AS n FROM block').get(), { n: 1 })
  after.close()
})

/** Claims hold only `ms` in this test. */
function shortClaims(t: Test, ms: number): void {
  const real = LIMITS.claimMs
  Reflect.set(LIMITS, 'claimMs', ms)
  t.teardown(() => Reflect.set(LIMITS, 'claimMs', real))
}

void t.test('an expired claim is taken over from an owner that lives, and he does no harm when he wakes', async (t) => {
  shortClaims(t, 300)
  const dir = t.testdir()
  const [one] = await blocks('slow', 1)
  const [slow, quick] = [await openCache(dir), await openCache(dir)]
  const served = countingReader([one!])
  const begun = Promise.withResolvers<void>()
  const wake = Promise.withResolvers<void>()
  const sleeper: BlockReader = {
    ...served,
    read: async (ref, signal) => {
      begun.resolve()
      await wake.promise
      return served.read(ref, signal)
    },
  }
  const options = { failureMemoryMs: 0, log: QUIET }
  const first = new CachedReader(slow, sleeper, options).get(one!.ref, undefined, NEVER)
  await begun.promise
  const reader = new CachedReader(quick, countingReader([one!]), options)
  const second = await reader.get(one!.ref, undefined, NEVER)
  t.ok(second.bytes?.equals(one!.plain), 'while the owner still sleeps')
  t.equal(reader.counters.waitedForOther, 1)
  wake.resolve()
  t.ok((await first).bytes?.equals(one!.plain))
  slow.flush()
  quick.flush()
  t.strictSame(slow.find(one!.ref.key), quick.find(one!.ref.key), 'one row')
  await slow.close()
  await quick.close()
  const db = new DatabaseSync(databasePath(dir), { readOnly: true })
  t.match(db.prepare('SELECT count(*) AS n FROM claim').get(), { n: 0 })
  db.close()
  t.match(await verifyCache(dir, { repair: false, log: QUIET }, NEVER), { blocks: 1, damaged: 0 })
})

void t.test('a claim from the future is waited for no longer than any other', async (t) => {
  shortClaims(t, 300)
  const dir = t.testdir()
  const [one] = await blocks('future', 1)
  const [owner, other] = [await openCache(dir), await openCache(dir)]
  const hanging = countingReader([one!], 600_000)
  const controller = new AbortController()
  const options = { failureMemoryMs: 0, log: QUIET }
  const first = new CachedReader(owner, hanging, options).get(one!.ref, undefined, controller.signal)
  while (hanging.fetched.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  // The clock was a year ahead when the claim was made.
  const db = new DatabaseSync(databasePath(dir))
  t.equal(db.prepare('UPDATE claim SET until = until + 31536000000').run().changes, 1)
  db.close()
  const { bytes } = await new CachedReader(other, countingReader([one!]), options).get(one!.ref, undefined, NEVER)
  t.ok(bytes?.equals(one!.plain))
  controller.abort()
  await t.rejects(first, { code: 'FLIST_INTERRUPTED' })
  await owner.close()
  await other.close()
})

void t.test('uses in the future neither keep a segment for ever nor stop eviction', async (t) => {
  const dir = t.testdir()
  const year = 365 * 86_400_000
  const options = { bytesMax: 8 * MiB, ownSegmentBytesMin: MiB }
  const ahead = await openCache(dir, { ...options, now: () => Date.now() + 10 * year })
  const known = await blocks('ahead', 12, 524_288)
  known.slice(0, 10).forEach(({ ref, plain }) => ahead.put(ref, plain))
  known.slice(10).forEach(({ ref, plain }, nth) => {
    ahead.put(ref, plain, { file: 'f', offset: nth * 524_288, fileBytes: MiB })
  })
  await ahead.close()
  const cache = await openCache(dir, { ...options, bytesMax: 2 * MiB })
  await cache.tidy()
  t.ok(cacheSummary(dir).bytes <= 2 * MiB, `${cacheSummary(dir).bytes} bytes are left`)
  const fresh = await blocks('now', 2, 524_288)
  for (const { ref, plain } of fresh) t.ok(cache.put(ref, plain))
  await cache.close()
  const db = new DatabaseSync(databasePath(dir), { readOnly: true })
  const latest = Number(db.prepare('SELECT max(used) AS n FROM segment').get()?.['n'])
  t.ok(latest < Date.now() / 1000 + 3601, 'no use in the future is left')
  db.close()
})

void t.test('a clock set back by years stops neither writing nor noting uses', async (t) => {
  const dir = t.testdir()
  let now = Date.now()
  const cache = await openCache(dir, { now: () => now })
  const known = await blocks('back', 4)
  cache.put(known[0]!.ref, known[0]!.plain)
  cache.flush()
  const real = Date.now
  t.teardown(() => (Date.now = real))
  now -= 5 * 365 * 86_400_000
  Date.now = () => now
  for (const { ref, plain } of known.slice(1)) t.ok(cache.put(ref, plain))
  cache.flush()
  t.ok(known.every(({ ref, plain }) => cache.read(cache.find(ref.key)!)?.equals(plain)))
  t.ok(cache.isWritable)
  await cache.close()
})
