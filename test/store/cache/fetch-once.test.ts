import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { FlistError } from '../../../lib/base/index.ts'
import { CachedReader } from '../../../lib/store/cache/fetch-once.ts'
import { databasePath } from '../../../lib/store/cache/layout.ts'
import { startChild } from './children/child.ts'
import { block, blocks, countingReader, NEVER, openCache, QUIET } from './helpers.ts'
import type { TestBlock } from './helpers.ts'

const OPTIONS = { failureMemoryMs: 2000, log: QUIET }

void t.test('get() fetches a block once for 200 readers at the same time', async (t) => {
  const cache = await openCache(t.testdir())
  const known = await blocks('once', 20)
  const inner = countingReader(known, 5)
  const reader = new CachedReader(cache, inner, OPTIONS)
  const asked = Array.from({ length: 200 }, (_, n) => known[n % known.length]!)
  const got = await Promise.all(asked.map(({ ref }) => reader.get(ref, undefined, NEVER)))
  for (const [n, { location, bytes }] of got.entries()) {
    t.ok(
      bytes?.equals(asked[n]!.plain) && location !== undefined && cache.read(location)?.equals(asked[n]!.plain),
      `reader ${n}`,
    )
  }
  t.equal(inner.fetched.length, 20)
  t.equal(new Set(inner.fetched).size, 20)
  t.match(reader.counters, {
    hits: 0,
    misses: 20,
    joined: 180,
    fetched: 20,
    bytesFetched: 20 * 4096,
    failures: 0,
    waitedForOther: 0,
  })
  const again = await reader.get(known[0]!.ref, undefined, NEVER)
  t.equal(again.bytes, undefined)
  t.ok(again.location !== undefined && cache.read(again.location)?.equals(known[0]!.plain))
  t.equal(reader.counters.hits, 1)
  t.ok((await reader.read(known[1]!.ref, NEVER)).equals(known[1]!.plain), 'read() gives the bytes of a hit')
  await cache.close()
})

void t.test('get() fetches once for two readers of one cache, and for two caches of one folder', async (t) => {
  const dir = t.testdir()
  const known = await blocks('shared', 50)
  const inner = countingReader(known, 5)
  const caches = [await openCache(dir), await openCache(dir)]
  const readers = [...caches, caches[0]!].map((cache) => new CachedReader(cache, inner, OPTIONS))
  await Promise.all(readers.flatMap((reader) => known.map(({ ref }) => reader.get(ref, undefined, NEVER))))
  t.equal(inner.fetched.length, 50)
  t.equal(
    readers.reduce((sum, { counters }) => sum + counters.waitedForOther, 0),
    100,
  )
  for (const cache of caches) await cache.close()
})

void t.test('get() fetches once for two processes', async (t) => {
  const dir = t.testdir()
  const children = [1, 2, 3].map(() => startChild('get-blocks.ts', [dir, 'two', '300', '3']))
  for (const child of children) t.equal(await child.line(), 'ready')
  for (const child of children) child.process.stdin.write('go\n')
  const reports = await Promise.all(
    children.map(async (child) => JSON.parse(await child.line()) as { fetched: string[]; wrong: number }),
  )
  t.equal(
    reports.reduce((sum, { wrong }) => sum + wrong, 0),
    0,
    'all read the right bytes',
  )
  const fetched = reports.flatMap((report) => report.fetched)
  t.equal(fetched.length, 300)
  t.equal(new Set(fetched).size, 300)
  for (const child of children) t.equal(await child.ended, 0)
})

void t.test('get() takes over the claims of a process that was killed', async (t) => {
  const dir = t.testdir()
  const known = await blocks('killed', 40)
  const child = startChild('claim-and-hang.ts', [dir, 'killed', '40'])
  t.equal(await child.line(), 'claimed')
  const cache = await openCache(dir)
  const inner = countingReader(known)
  const reader = new CachedReader(cache, inner, OPTIONS)
  const all = Promise.all(known.map(({ ref }) => reader.get(ref, undefined, NEVER)))
  t.equal(
    await Promise.race([all.then(() => 'served'), new Promise((resolve) => setTimeout(resolve, 150, 'waiting'))]),
    'waiting',
  )
  t.equal(inner.fetched.length, 0, 'nothing is fetched while the owner lives')
  child.process.kill('SIGKILL')
  await all
  t.equal(inner.fetched.length, 40)
  t.equal(reader.counters.waitedForOther, 40)
  await child.ended
  await cache.close()
})

void t.test('get() takes over the claims of another boot, whoever has their number now', async (t) => {
  const dir = t.testdir()
  const known = await blocks('elder', 5)
  const child = startChild('claim-and-hang.ts', [dir, 'elder', '5'])
  t.equal(await child.line(), 'claimed')
  const db = new DatabaseSync(databasePath(dir))
  // It lives, with its number and its start: as one would that came by both after a boot.
  t.equal(db.prepare("UPDATE process SET boot_id = 'of-yesterday'").run().changes, 1)
  db.close()
  const cache = await openCache(dir)
  const inner = countingReader(known)
  const reader = new CachedReader(cache, inner, OPTIONS)
  await Promise.all(known.map(({ ref }) => reader.get(ref, undefined, NEVER)))
  t.equal(inner.fetched.length, 5)
  t.equal(child.process.exitCode, null, 'nobody waited for its end')
  child.process.kill('SIGKILL')
  await child.ended
  await cache.close()
})

void t.test('get() lets an aborted reader leave and aborts the fetch with the last', async (t) => {
  const cache = await openCache(t.testdir())
  const one = await block('leave')
  const inner = countingReader([one], 50)
  const reader = new CachedReader(cache, inner, OPTIONS)
  const [first, second, third] = [new AbortController(), new AbortController(), new AbortController()]
  const early = reader.get(one.ref, undefined, first.signal)
  const late = reader.get(one.ref, undefined, second.signal)
  first.abort()
  await t.rejects(early, { code: 'FLIST_INTERRUPTED' })
  t.ok((await late).bytes?.equals(one.plain), 'the other is served')
  t.equal(inner.aborted.length, 0)

  const other = await block('leave-2')
  const alone = reader.get(other.ref, undefined, third.signal)
  while (inner.fetched.length < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  third.abort()
  await t.rejects(alone, { code: 'FLIST_INTERRUPTED' })
  t.equal(inner.aborted.length, 1)
  await t.rejects(reader.get(one.ref, undefined, AbortSignal.abort()), { code: 'FLIST_INTERRUPTED' })
  t.equal(reader.counters.failures, 0, 'leaving is no failure')
  await t.rejects(reader.get(other.ref, undefined, NEVER), /unknown block/, 'and is not remembered as one')
  await cache.close()
})

void t.test('get() remembers a failure for a moment', async (t) => {
  let now = 1000
  const cache = await openCache(t.testdir())
  const one = await block('fails')
  const failure = new FlistError('FLIST_BLOCK_MISSING', 'Cannot find the block')
  let failing = true
  const inner = countingReader([one], 1, () => (failing ? failure : undefined))
  const reader = new CachedReader(cache, inner, { ...OPTIONS, now: () => now })
  const both = await Promise.allSettled([reader.get(one.ref, undefined, NEVER), reader.get(one.ref, undefined, NEVER)])
  for (const result of both) t.equal(result.status === 'rejected' && result.reason, failure)
  failing = false
  now += 1999
  await t.rejects(reader.get(one.ref, undefined, NEVER), { code: 'FLIST_BLOCK_MISSING' })
  t.equal(inner.fetched.length, 1)
  now += 2
  t.ok((await reader.get(one.ref, undefined, NEVER)).bytes?.equals(one.plain))
  t.match(reader.counters, { failures: 1, fetched: 1 })
  await cache.close()
})

void t.test('get() remembers for a moment that the last reader waited in vain', async (t) => {
  let now = 1000
  const cache = await openCache(t.testdir())
  const one = await block('late')
  const inner = countingReader([one], 60_000)
  const reader = new CachedReader(cache, inner, { ...OPTIONS, now: () => now })
  const [first, second] = [new AbortController(), new AbortController()]
  const late = new FlistError('FLIST_TIMEOUT', 'Cannot read "a" within 1 ms')
  const both = [first, second].map(({ signal }) => reader.get(one.ref, undefined, signal))
  for (const waiting of both) waiting.catch(() => undefined)
  while (inner.fetched.length < 1) await new Promise(setImmediate)
  first.abort(late)
  await t.rejects(both[0]!, { code: 'FLIST_INTERRUPTED' })
  t.equal(reader.stateOf(one.ref), 'fetching', 'another still waits')
  second.abort(late)
  await t.rejects(both[1]!, { code: 'FLIST_INTERRUPTED' })
  t.equal(reader.stateOf(one.ref), 'failed')
  const again = await reader.get(one.ref, undefined, NEVER).catch((error: unknown) => error)
  t.equal(again, late)
  t.equal(inner.fetched.length, 1)
  now += 2001
  t.equal(reader.stateOf(one.ref), 'absent')
  await cache.close()
})

void t.test('get() lets go of failures whose time is over', async (t) => {
  let now = 1000
  const cache = await openCache(t.testdir())
  const failing = await blocks('away', 300)
  const failure = new FlistError('FLIST_BLOCK_MISSING', 'Cannot find the block')
  const reader = new CachedReader(
    cache,
    countingReader([], 0, () => failure),
    { ...OPTIONS, now: () => now },
  )
  const ask = ({ ref }: TestBlock): Promise<unknown> => reader.get(ref, undefined, NEVER).catch(() => undefined)
  await Promise.all(failing.slice(0, 200).map(ask))
  t.equal(reader.failuresKept, 200)
  now += 1500
  // One of them is asked for again before its time, and most are never.
  await Promise.all([ask(failing[0]!), ...failing.slice(200).map(ask)])
  t.equal(reader.failuresKept, 300)
  now += 501
  await ask(failing[0]!)
  t.equal(reader.failuresKept, 101, 'the hundred of lately, and the one that failed just now')
  now += 2001
  await ask(failing[1]!)
  t.equal(reader.failuresKept, 1)
  await cache.close()
})

void t.test('get() refuses a cached block of another length than the file needs', async (t) => {
  const cache = await openCache(t.testdir())
  const one = await block('length')
  const reader = new CachedReader(cache, countingReader([one]), OPTIONS)
  await reader.get(one.ref, undefined, NEVER)
  await t.rejects(reader.get({ ...one.ref, plainBytes: 4095 }, undefined, NEVER), { code: 'FLIST_FILE_TRUNCATED' })
  await cache.close()
})

void t.test('get() never gives an archive the bytes of another key under the same id', async (t) => {
  const cache = await openCache(t.testdir())
  const [honest, hostile] = [await block('honest'), await block('hostile')]
  const lie = { ...hostile.ref, id: honest.ref.id }
  const liar = new CachedReader(cache, countingReader([{ ref: lie, plain: hostile.plain }]), OPTIONS)
  await liar.get(lie, undefined, NEVER)
  const reader = new CachedReader(cache, countingReader([honest]), OPTIONS)
  t.ok((await reader.read(honest.ref, NEVER)).equals(honest.plain))
  await cache.close()
})

void t.test('asyncDispose ends every fetch and the reader, once', async (t) => {
  const cache = await openCache(t.testdir())
  const one: TestBlock = await block('dispose')
  let disposed = 0
  const inner = { ...countingReader([one], 600_000), [Symbol.asyncDispose]: async () => void (disposed += 1) }
  const reader = new CachedReader(cache, inner, OPTIONS)
  const waiting = reader.get(one.ref, undefined, NEVER)
  await new Promise((resolve) => setTimeout(resolve, 20))
  await reader[Symbol.asyncDispose]()
  await reader[Symbol.asyncDispose]()
  await t.rejects(waiting, { code: 'FLIST_INTERRUPTED' })
  await t.rejects(reader.get(one.ref, undefined, NEVER), { code: 'FLIST_INTERRUPTED' })
  t.equal(disposed, 1)
  await cache.close()
  await cache.close()
})

void t.test('a fetch ahead is wanted as soon as a reader comes to it', async (t) => {
  const cache = await openCache(t.testdir())
  const [one] = await blocks('raised', 1)
  const inner = countingReader([one!], 50)
  const seen: (boolean | undefined)[] = []
  const read = inner.read.bind(inner)
  inner.read = async (ref, signal) => {
    seen.push(ref.haste?.isWanted)
    const bytes = await read(ref, signal)
    seen.push(ref.haste?.isWanted)
    return bytes
  }
  const reader = new CachedReader(cache, inner, OPTIONS)
  const ahead = reader.get({ ...one!.ref, ahead: true }, undefined, NEVER)
  while (seen.length === 0) await new Promise(setImmediate)
  await reader.get(one!.ref, undefined, NEVER)
  await ahead
  t.same(seen, [false, true])
  await cache.close()
})
