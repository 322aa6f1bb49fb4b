import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import t from 'tap'
import { pruneCache } from '../../../lib/commands/cache.ts'
import { CachedReader } from '../../../lib/store/cache/fetch-once.ts'
import { cacheSummary } from '../../../lib/store/cache/summary.ts'
import { blocks, countingReader, NEVER, openCache, QUIET } from './helpers.ts'

const root = process.geteuid?.() === 0
const skip = root ? false : 'needs root to mount a small tmpfs'

/** Runs `work` with a tmpfs of `size`, unmounted whatever happens; false where mounting is not allowed. */
async function onSmallDisk(size: string, work: (dir: string) => Promise<void>): Promise<boolean> {
  const dir = fs.mkdtempSync(`${tmpdir()}/flistfs-test-`)
  try {
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size},mode=700`, 'flistfs-test', dir], {
        stdio: 'ignore',
        timeout: 120_000,
      })
    } catch {
      return false
    }
    try {
      await work(dir)
    } finally {
      execFileSync('umount', ['-l', dir], { timeout: 120_000 })
    }
    return true
  } finally {
    fs.rmdirSync(dir)
  }
}

/** Takes every page that the disk has left. */
function fillUp(path: string): void {
  const fd = fs.openSync(path, 'w')
  try {
    for (;;) fs.writeSync(fd, Buffer.alloc(4096))
  } catch {
    fs.closeSync(fd)
  }
}

void t.test('a full disk never fails a reader, and the cache goes on when there is room', { skip }, async (t) => {
  const ran = await onSmallDisk('3m', async (dir) => {
    const known = await blocks('full', 40, 128 * 1024)
    const cache = await openCache(dir)
    const inner = countingReader(known)
    const reader = new CachedReader(cache, inner, { failureMemoryMs: 0, log: QUIET })
    let kept = 0
    for (const { ref, plain } of known) {
      const { location, bytes } = await reader.get(ref, undefined, NEVER)
      t.ok(bytes?.equals(plain))
      if (location !== undefined) kept += 1
    }
    t.ok(kept > 5 && kept < 40, `${kept} of 40 found room`)
    const found = known.filter(({ ref }) => cache.find(ref.key) !== undefined)
    t.equal(found.length, kept)
    t.ok(
      found.every(({ ref, plain }) => cache.read(cache.find(ref.key)!)?.equals(plain)),
      'nothing torn is found',
    )

    execFileSync('mount', ['-o', 'remount,size=30m', dir], { timeout: 120_000 })
    const deadline = Date.now() + 120_000
    while (!cache.isWritable && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50))
    const last = known.find(({ ref }) => cache.find(ref.key) === undefined)!
    t.ok((await reader.get(last.ref, undefined, NEVER)).location !== undefined, 'written again')
    await cache.close()
  })
  if (!ran) t.comment('SKIPPED: a tmpfs cannot be mounted here')
})

void t.test('a disk too full for a database, or read-only, leaves reading from memory', { skip }, async (t) => {
  const ran = await onSmallDisk('1m', async (dir) => {
    const [one, two] = await blocks('memory', 2)
    const first = await openCache(dir)
    first.put(one!.ref, one!.plain)
    await first.close()
    execFileSync('mount', ['-o', 'remount,ro', dir], { timeout: 120_000 })
    const cache = await openCache(dir)
    t.notOk(cache.isWritable)
    const inner = countingReader([one!, two!])
    const reader = new CachedReader(cache, inner, { failureMemoryMs: 0, log: QUIET })
    const got = await Promise.all([1, 2, 3].map(() => reader.get(two!.ref, undefined, NEVER)))
    t.ok(got.every(({ location, bytes }) => location === undefined && bytes?.equals(two!.plain) === true))
    t.equal(inner.fetched.length, 1, 'still joined in this process')
    t.throws(() => cache.pin('x', two!.ref.key, 32), { code: 'FLIST_CACHE_UNUSABLE' })
    await cache.close()

    execFileSync('mount', ['-o', 'remount,rw,size=1m', dir], { timeout: 120_000 })
    fs.rmSync(`${dir}/v1`, { recursive: true })
    fs.writeFileSync(`${dir}/filler`, Buffer.alloc(1024 * 1024 - 8192))
    const full = await openCache(dir)
    const direct = new CachedReader(full, inner, { failureMemoryMs: 0, log: QUIET })
    t.ok((await direct.read(one!.ref, NEVER)).equals(one!.plain))
    await full.close()
  })
  if (!ran) t.comment('SKIPPED: a tmpfs cannot be mounted here')
})

void t.test('a cache at rest is read on a disk that has become full', { skip }, async (t) => {
  const ran = await onSmallDisk('4m', async (dir) => {
    const [one] = await blocks('rest', 1)
    const first = await openCache(`${dir}/cache`)
    first.put(one!.ref, one!.plain)
    await first.close()
    fillUp(`${dir}/filler`)
    for (const time of ['first', 'second']) {
      t.match(cacheSummary(`${dir}/cache`), { blocks: 1 }, `the ${time} look`)
      const cache = await openCache(`${dir}/cache`)
      const reader = new CachedReader(cache, countingReader([]), { failureMemoryMs: 0, log: QUIET })
      t.ok((await reader.read(one!.ref, NEVER)).equals(one!.plain), `the ${time} read`)
      await cache.close()
    }
  })
  if (!ran) t.comment('SKIPPED: a tmpfs cannot be mounted here')
})

void t.test('pruneCache() makes room on a disk that has none, but keeps what is pinned', { skip }, async (t) => {
  const request = { to: undefined, olderMs: undefined, all: true, dryRun: false }
  const ran = await onSmallDisk('8m', async (dir) => {
    const cacheDir = `${dir}/cache`
    const known = await blocks('prune', 20, 128 * 1024)
    const first = await openCache(cacheDir)
    for (const { ref, plain } of known) first.put(ref, plain)
    first.flush()
    first.pin('them', Buffer.concat(known.map(({ ref }) => ref.key)), 32)
    await first.close()
    fillUp(`${dir}/filler`)
    await t.rejects(pruneCache({ cacheDir, ...request }, QUIET, NEVER), { code: 'FLIST_CACHE_UNUSABLE' })
    t.match(cacheSummary(cacheDir), { blocks: 20, pins: ['them'] })

    fs.truncateSync(`${dir}/filler`, 64 * 1024)
    const second = await openCache(cacheDir)
    second.unpin('them')
    await second.close()
    fillUp(`${dir}/more`)
    t.match(await pruneCache({ cacheDir, ...request }, QUIET, NEVER), { segments: 1, bytes: 20 * 128 * 1024 })
    t.match(cacheSummary(cacheDir), { blocks: 0, segments: 0 })
  })
  if (!ran) t.comment('SKIPPED: a tmpfs cannot be mounted here')
})

void t.test('a cache that root made is read by others', { skip }, async (t) => {
  const dir = fs.mkdtempSync(`${tmpdir()}/flistfs-test-`)
  t.teardown(() => fs.rmSync(dir, { recursive: true }))
  const [one] = await blocks('of root', 1)
  const first = await openCache(`${dir}/cache`)
  first.put(one!.ref, one!.plain)
  await first.close()
  execFileSync('chmod', ['-R', 'a+rX', dir])
  process.seteuid?.(65_534)
  try {
    const cache = await openCache(`${dir}/cache`)
    const reader = new CachedReader(cache, countingReader([]), { failureMemoryMs: 0, log: QUIET })
    t.ok((await reader.read(one!.ref, NEVER)).equals(one!.plain))
    t.throws(() => cache.pin('x', one!.ref.key, 32), { code: 'FLIST_CACHE_UNUSABLE', message: /it belongs to root/ })
    await cache.close()
  } finally {
    process.seteuid?.(0)
  }
})

void t.test('a folder that is a file leaves reading from memory', async (t) => {
  const dir = t.testdir({ cache: 'a file' })
  const [one] = await blocks('file', 1)
  const cache = await openCache(`${dir}/cache`)
  const reader = new CachedReader(cache, countingReader([one!]), { failureMemoryMs: 0, log: QUIET })
  t.match(await reader.get(one!.ref, undefined, NEVER), { location: undefined, bytes: one!.plain })
  t.equal(await cache.forgetSegment(7), undefined)
  t.strictSame(await cache.tidy(), [])
  await cache.close()
})
