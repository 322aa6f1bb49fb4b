import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { LIMITS, SILENT } from '../lib/base/index.ts'
import { locateIndex, openIndex } from '../lib/flist/index.ts'
import { BlockCache, CachedReader, openReader } from '../lib/store/index.ts'
import { keepFreedBlocks } from '../lib/system/index.ts'
import { BlockTable, CachedReads, Fetcher, SegmentFiles } from '../lib/vfs/index.ts'

// fetch-path.ts ARCHIVE STORE [--read-bytes N]: processor time of the fetch thread's work for each block of an archive, without
// the kernel. Files are read in order by one reader who waits for each answer, as tar does; the cache is empty. It does not
// count what the session thread does, but the reads of what was fetched ahead.
const NEVER = new AbortController().signal
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { 'read-bytes': { type: 'string', default: String(128 * 1024) } },
})
const [archive, store] = positionals
if (archive === undefined || store === undefined) throw new RangeError('Which archive, and which store?')
const readBytes = Number(values['read-bytes'])

keepFreedBlocks()
const dir = mkdtempSync(join(tmpdir(), 'flistfs-bench-'))
try {
  const { indexPath, digest } = await locateIndex(resolve(archive), { cacheDir: dir }, NEVER)
  const index = openIndex(indexPath, digest)
  const cache = await BlockCache.open(dir, { bytesMax: 8 * 1024 ** 3, freeBytesMin: 0, log: SILENT })
  const routes = [{ start: 0, end: 255, url: store, trusted: true }]
  const stores = openReader({ routes, baseDir: process.cwd(), log: SILENT })
  const reader = new CachedReader(cache, stores, { failureMemoryMs: LIMITS.failureMemoryMs, log: SILENT })
  const table = new BlockTable(index.blockCount)
  const files = new SegmentFiles(dir)
  const fetcher = new Fetcher({ index, table, files, cache, reader, log: SILENT, timeoutMs: LIMITS.readTimeoutMs })
  const cached = new CachedReads(index, table, files)
  await fetcher.fillTable(NEVER)
  const out = Buffer.alloc(readBytes)
  const began = performance.now()
  const start = process.cpuUsage()
  const own = process.threadCpuUsage()
  let misses = 0
  for (let row = 0; row < index.rowCount; row += 1) {
    if (((index.mode[row] ?? 0) & 0o170000) !== 0o100000 || index.leader[row] !== row) continue
    const size = index.size[row] ?? 0
    for (let at = 0; at < size; at += readBytes) {
      const done = cached.read(row, at, readBytes, out, 0)
      if (cached.markedBlock >= 0) fetcher.advanceTo(cached.markedBlock)
      cached.markedBlock = -1
      if (done >= 0) continue
      misses += 1
      fetcher.release(await fetcher.read(row, at, readBytes, NEVER))
    }
  }
  cache.flush()
  const used = process.cpuUsage(start)
  const thread = process.threadCpuUsage(own)
  const each = (us: number): string => `${(us / reader.counters.fetched).toFixed(1)} us`
  console.log(
    `${reader.counters.fetched} blocks, ${misses} reads not answered at once; this thread ${each(thread.user)} user, ` +
      `${each(thread.system)} system; all threads ${each(used.user)} user, ${each(used.system)} system; ` +
      `${((performance.now() - began) / 1000).toFixed(2)} s`,
  )
  fetcher.close()
  await reader[Symbol.asyncDispose]()
  await cache.close()
  index.close()
} finally {
  rmSync(dir, { recursive: true, force: true })
}
