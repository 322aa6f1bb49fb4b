import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FlistError, LIMITS, Log } from '../../lib/base/index.ts'
import { FlWriter } from '../../lib/flist/index.ts'
import { BlockCache, CachedReader, openReader } from '../../lib/store/index.ts'
import { BlockTable, CachedReads, Fetcher, NOT_CACHED, SegmentFiles } from '../../lib/vfs/index.ts'
import { silentStore } from '../store/silent-store.ts'
import { openArchive, openSample, type OpenSample } from './open-sample.ts'
import { ArchiveMaker, DIR, FILE, noise } from './sample-archive.ts'

const BLOCK = 512 * 1024
const BIG = noise('big', 6 * BLOCK + 321)
const QUIET = new Log(-1, 'error')
const NEVER = new AbortController().signal

interface Parts {
  readonly fetcher: Fetcher
  readonly table: BlockTable
  readonly reader: CachedReader
  readonly reads: CachedReads
  readonly cache: BlockCache
}

/** What the fetch thread of a mount has, and the session's reads beside it. */
async function fetcherOf(
  t: Test,
  opened: Pick<OpenSample, 'index' | 'cacheDir'>,
  url: string,
  timeoutMs = 10_000,
  waits = false,
): Promise<Parts> {
  const { index, cacheDir } = opened
  const cache = await BlockCache.open(cacheDir, { bytesMax: 2 ** 30, freeBytesMin: 0, log: QUIET })
  const routes = [{ start: 0, end: 255, url, trusted: true }]
  const stores = openReader({ routes, baseDir: '/', timeoutMs: LIMITS.readTimeoutMs, log: QUIET })
  const reader = new CachedReader(cache, stores, { failureMemoryMs: 0, log: QUIET })
  const table = new BlockTable(index.blockCount)
  const [files, sessionFiles] = [new SegmentFiles(cacheDir), new SegmentFiles(cacheDir)]
  const fetcher = new Fetcher({ index, table, files, cache, reader, log: QUIET, timeoutMs, waits })
  t.teardown(async () => {
    fetcher.close()
    sessionFiles.close()
    await reader[Symbol.asyncDispose]()
    await cache.close()
  })
  return { fetcher, table, reader, cache, reads: new CachedReads(index, table, sessionFiles) }
}

async function open(t: Test, timeoutMs?: number): Promise<OpenSample & Parts> {
  const maker = new ArchiveMaker().add('dir', DIR).add('dir/big', FILE, { content: BIG })
  for (let nth = 10; nth < 40; nth += 1) maker.add(`small-${nth}`, FILE, { content: noise(`small ${nth}`, 50 + nth) })
  const opened = await openSample(t, maker)
  return { ...opened, ...(await fetcherOf(t, opened, `dir:${opened.sample.storeDir}`, timeoutMs)) }
}

async function waitUntil(condition: () => boolean): Promise<void> {
  const end = Date.now() + 120_000
  while (!condition()) {
    if (Date.now() > end) throw new Error('it never came')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

t.test('read() fetches what is missing, and the session reads it afterwards', async (t) => {
  const { fetcher, reads, reader, row } = await open(t)
  const big = row('dir/big')
  const out = Buffer.alloc(2 * BLOCK)
  for (const [offset, bytes] of [
    [3 * BLOCK - 10, 20],
    [0, 1],
    [BLOCK, BLOCK],
    [BIG.length - 5, 100],
    [BIG.length, 10],
    [2 ** 45, 10],
  ] as const) {
    const wanted = BIG.subarray(Math.min(offset, BIG.length), Math.min(offset + bytes, BIG.length))
    const got = Buffer.concat(await fetcher.read(big, offset, bytes, NEVER))
    t.ok(got.equals(wanted), `${bytes} bytes at ${offset}`)
  }
  await waitUntil(() => reads.read(big, 3 * BLOCK - 10, 20, out, 0) === 20)
  t.ok(out.subarray(0, 20).equals(BIG.subarray(3 * BLOCK - 10, 3 * BLOCK + 10)))
  t.equal(reader.counters.failures, 0)
})

t.test('readers of one block share one fetch', async (t) => {
  const { fetcher, reader, row } = await open(t)
  const small = row('small-10')
  const all = await Promise.all(Array.from({ length: 20 }, () => fetcher.read(small, 0, 60, NEVER)))
  t.ok(all.every((pieces) => Buffer.concat(pieces).equals(noise('small 10', 60))))
  t.equal(reader.counters.fetched, 1)
})

t.test('a sequential reader finds the rest in the cache', async (t) => {
  const { fetcher, table, row, index } = await open(t)
  const big = row('dir/big')
  const first = index.first[big] ?? 0
  await fetcher.read(big, 0, 4096, NEVER)
  await fetcher.read(big, BLOCK, BLOCK, NEVER)
  await waitUntil(() => [2, 3, 4, 5].every((nth) => table.has(first + nth)))
  t.notOk(table.has(first + 6), 'beyond the window')
  // The session thread tells which marked block a reader reached.
  const marked = [2, 3, 4, 5].filter((nth) => table.takeMark(first + nth))
  t.equal(marked.length, 1)
  fetcher.advanceTo(first + (marked[0] ?? 0))
  await waitUntil(() => table.has(first + 6))
  t.pass('the last block came')
})

t.test('who reads a file from its start in large pieces is fetched ahead of at once', async (t) => {
  const { fetcher, table, row, index } = await open(t)
  const first = index.first[row('dir/big')] ?? 0
  await fetcher.read(row('dir/big'), 0, 256 * 1024, NEVER)
  await waitUntil(() => [1, 2, 3, 4].every((nth) => table.has(first + nth)))
  t.notOk(table.has(first + 5), 'beyond the window')
})

t.test('small files in order are fetched ahead', async (t) => {
  const { fetcher, table, row, index } = await open(t)
  const last = index.first[row('small-39')] ?? 0
  for (const name of ['small-10', 'small-11', 'small-12']) await fetcher.read(row(name), 0, 100, NEVER)
  await waitUntil(() => table.has((index.first[row('small-12')] ?? 0) + 1))
  for (const nth of [13, 16, 20, 24, 28, 32, 36]) await fetcher.read(row(`small-${nth}`), 0, 100, NEVER)
  await waitUntil(() => table.has(last))
  t.pass('up to the last one')
})

t.test('a missing block is named by the path', async (t) => {
  const { fetcher, row, sample } = await open(t)
  rmSync(sample.storeDir, { recursive: true })
  const failure = await fetcher.read(row('dir/big'), 0, 10, NEVER).then(
    () => undefined,
    (error: unknown) => error,
  )
  t.type(failure, FlistError)
  t.match(failure, { message: /^Cannot read "dir\/big": / })
  t.notMatch(failure, { message: /Cannot.*Cannot/ })
})

t.test('a damaged block is FLIST_BLOCK_CORRUPT, named by the path', async (t) => {
  const { fetcher, row, sample } = await open(t)
  for (const folder of readdirSync(sample.storeDir)) {
    for (const name of readdirSync(join(sample.storeDir, folder))) {
      const path = join(sample.storeDir, folder, name)
      const stored = readFileSync(path)
      stored.writeUInt8(stored.readUInt8(stored.length >> 1) ^ 1, stored.length >> 1)
      writeFileSync(path, stored)
    }
  }
  await t.rejects(fetcher.read(row('small-20'), 0, 10, NEVER), {
    code: 'FLIST_BLOCK_CORRUPT',
    message: /^Cannot read "small-20": /,
  })
})

t.test('the part of a file whose blocks were left out is FLIST_FILE_TRUNCATED, what is there is read', async (t) => {
  const dir = t.testdir()
  const whole = await new ArchiveMaker().add('file', FILE, { content: BIG.subarray(0, BLOCK) }).write(dir)
  const opened = await openArchive(t, whole.archivePath, join(dir, 'cache'))
  const writer = new FlWriter(join(dir, 'short.fl'))
  const inode = { uid: 0, gid: 0, rdev: 0, ctime: 0, mtime: 0 }
  writer.addInode({ ...inode, parent: 0, name: Buffer.from('/'), size: 0, mode: 0o040755 })
  const ino = writer.addInode({ ...inode, parent: 1, name: Buffer.from('short'), size: BLOCK + 10, mode: FILE })
  writer.addBlock(ino, opened.index.ids.subarray(0, 32), opened.index.keys.subarray(0, 32))
  writer.finish()
  const short = await openArchive(t, join(dir, 'short.fl'), join(dir, 'cache'))
  const { fetcher, reads } = await fetcherOf(t, short, `dir:${whole.storeDir}`)
  const row = short.row('short')
  t.ok(Buffer.concat(await fetcher.read(row, 5, 100, NEVER)).equals(BIG.subarray(5, 105)))
  t.equal(reads.read(row, BLOCK - 1, 2, Buffer.alloc(10), 0), NOT_CACHED)
  await t.rejects(fetcher.read(row, BLOCK - 1, 2, NEVER), { code: 'FLIST_FILE_TRUNCATED', message: /"short"/ })
  await t.rejects(fetcher.read(row, BLOCK, 2, NEVER), { code: 'FLIST_FILE_TRUNCATED' })
})

t.test('a store that never answers ends at the deadline', { timeout: 600_000 }, async (t) => {
  const { index, cacheDir, row } = await openSample(
    t,
    new ArchiveMaker().add('file', FILE, { content: noise('x', 10) }),
  )
  const { fetcher } = await fetcherOf(t, { index, cacheDir }, await silentStore(t), 300)
  await t.rejects(fetcher.read(row('file'), 0, 10, NEVER), {
    code: 'FLIST_TIMEOUT',
    message: 'Cannot read "file" within 300 ms',
  })
})

t.test('a reader who leaves does not wait, and those who stay still wait', { timeout: 600_000 }, async (t) => {
  const { index, cacheDir, row } = await openSample(
    t,
    new ArchiveMaker().add('file', FILE, { content: noise('x', 10) }),
  )
  const { fetcher } = await fetcherOf(t, { index, cacheDir }, await silentStore(t), 1_500)
  const leaver = new AbortController()
  const left = fetcher.read(row('file'), 0, 10, leaver.signal)
  const stays = fetcher.read(row('file'), 0, 10, NEVER)
  const stayed = t.rejects(stays, { code: 'FLIST_TIMEOUT' })
  leaver.abort()
  await t.rejects(left, { code: 'FLIST_INTERRUPTED' })
  await t.rejects(fetcher.read(row('file'), 0, 10, AbortSignal.abort()), { code: 'FLIST_INTERRUPTED' }, 'left before')
  await stayed
})

t.test('a read that waits goes on when its store is back', { timeout: 600_000 }, async (t) => {
  const { index, cacheDir, row, sample } = await openSample(t, new ArchiveMaker().add('one', FILE, { content: BIG }))
  const away = `${sample.storeDir}-away`
  renameSync(sample.storeDir, away)
  const { fetcher } = await fetcherOf(t, { index, cacheDir }, `dir:${sample.storeDir}`, 300, true)
  const controller = new AbortController()
  const [left, stays] = [fetcher.read(row('one'), 0, 100, controller.signal), fetcher.read(row('one'), 0, 100, NEVER)]
  const leaving = t.rejects(left, { code: 'FLIST_INTERRUPTED' })
  let ended = false
  void stays.finally(() => (ended = true))
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  t.notOk(ended, 'it waits longer than any deadline')
  controller.abort()
  await leaving
  renameSync(away, sample.storeDir)
  t.ok(Buffer.concat(await stays).equals(BIG.subarray(0, 100)))

  renameSync(sample.storeDir, away)
  const ending = t.rejects(fetcher.read(row('one'), 3 * BLOCK, 100, NEVER), { code: 'FLIST_INTERRUPTED' })
  await new Promise((resolve) => setTimeout(resolve, 200))
  fetcher.close()
  await ending
})

t.test('a read that waits does not wait for what is lost', { timeout: 600_000 }, async (t) => {
  const { index, cacheDir, row, sample } = await openSample(t, new ArchiveMaker().add('one', FILE, { content: BIG }))
  for (const name of readdirSync(sample.storeDir)) rmSync(join(sample.storeDir, name), { recursive: true })
  const { fetcher } = await fetcherOf(t, { index, cacheDir }, `dir:${sample.storeDir}`, 10_000, true)
  await t.rejects(fetcher.read(row('one'), 0, 100, NEVER), { code: 'FLIST_BLOCK_MISSING' })
})

t.test('a segment that vanished is fetched again', async (t) => {
  const { fetcher, table, reads, row, cacheDir, index } = await open(t)
  const small = row('small-15')
  const block = index.first[small] ?? 0
  await fetcher.read(small, 0, 10, NEVER)
  await waitUntil(() => table.has(block))
  rmSync(join(cacheDir, 'v1/segments'), { recursive: true })
  t.equal(reads.read(small, 0, 10, Buffer.alloc(10), 0), NOT_CACHED)
  t.ok(Buffer.concat(await fetcher.read(small, 0, 10, NEVER)).equals(noise('small 15', 10)))
})

t.test('fillTable() finds what an earlier mount left in the cache', async (t) => {
  const { fetcher, cache, row, sample, index, cacheDir } = await open(t)
  for (const name of ['dir/big', 'small-33']) await fetcher.read(row(name), 0, 10, NEVER)
  await cache.close()
  const later = await fetcherOf(t, { index, cacheDir }, `dir:${sample.storeDir}`)
  await later.fetcher.fillTable(NEVER)
  t.equal(later.table.filled, 2)
  const out = Buffer.alloc(10)
  t.equal(later.reads.read(row('small-33'), 0, 10, out, 0), 10)
  t.ok(out.equals(noise('small 33', 10)))
})
