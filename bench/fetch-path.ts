import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { LIMITS, SILENT } from '../lib/base/index.ts'
import { type FlistIndex, locateIndex, openIndex } from '../lib/flist/index.ts'
import { BlockCache, CachedReader, openReader } from '../lib/store/index.ts'
import { keepFreedBlocks } from '../lib/system/index.ts'
import { BlockTable, CachedReads, Fetcher, SegmentFiles, S_IFMT, S_IFREG } from '../lib/vfs/index.ts'

// fetch-path.ts ARCHIVE STORE [--read-bytes N] [--repeat N]: processor time of the fetch thread's work for each block of an archive,
// without the kernel. Files are read in order by one reader who waits for each answer, as tar does; each time the cache is empty. The
// first time the code is cold, as in a mount; later ones tell two versions of it apart on a busy machine.
const NEVER = new AbortController().signal
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { 'read-bytes': { type: 'string', default: '131072' }, repeat: { type: 'string', default: '5' } },
})
const [archive, store] = positionals
if (archive === undefined || store === undefined) throw new RangeError('Which archive, and which store?')
const readBytes = Number(values['read-bytes'])

interface Cost {
  /** Microseconds a block. */
  readonly thread: number
  readonly process: number
  readonly seconds: number
  readonly text: string
}

async function measure(index: FlistIndex, dir: string, url: string): Promise<Cost> {
  const cache = await BlockCache.open(dir, { bytesMax: 8 * 1024 ** 3, freeBytesMin: 0, log: SILENT })
  const stores = openReader({
    routes: [{ start: 0, end: 255, url, trusted: true }],
    baseDir: process.cwd(),
    log: SILENT,
  })
  const reader = new CachedReader(cache, stores, { failureMemoryMs: LIMITS.failureMemoryMs, log: SILENT })
  const table = new BlockTable(index.blockCount)
  const files = new SegmentFiles(dir)
  const fetcher = new Fetcher({ index, table, files, cache, reader, log: SILENT, timeoutMs: LIMITS.readTimeoutMs })
  await fetcher.fillTable(NEVER)
  const began = performance.now()
  const all = process.cpuUsage()
  const own = process.threadCpuUsage()
  const waited = await readAll(index, new CachedReads(index, table, files), fetcher)
  cache.flush()
  const used = process.cpuUsage(all)
  const thread = process.threadCpuUsage(own)
  const seconds = (performance.now() - began) / 1000
  const { fetched } = reader.counters
  fetcher.close()
  await reader[Symbol.asyncDispose]()
  await cache.close()
  return {
    thread: (thread.user + thread.system) / fetched,
    process: (used.user + used.system) / fetched,
    seconds,
    text: `${fetched} blocks, ${waited} reads that waited`,
  }
}

/** Returns how many reads the session thread would have handed over. */
async function readAll(index: FlistIndex, cached: CachedReads, fetcher: Fetcher): Promise<number> {
  const out = Buffer.alloc(readBytes)
  let waited = 0
  for (let row = 0; row < index.rowCount; row += 1) {
    if (((index.mode[row] ?? 0) & S_IFMT) !== S_IFREG || index.leader[row] !== row) continue
    const size = index.size[row] ?? 0
    for (let at = 0; at < size; at += readBytes) {
      const done = cached.read(row, at, readBytes, out, 0)
      if (cached.markedBlock >= 0) fetcher.advanceTo(cached.markedBlock)
      cached.markedBlock = -1
      if (done >= 0) continue
      waited += 1
      fetcher.release(await fetcher.read(row, at, readBytes, NEVER))
    }
  }
  return waited
}

function say(what: string, { text, thread, process: all, seconds }: Cost): void {
  const us = `this thread ${thread.toFixed(1)} us, all threads ${all.toFixed(1)} us a block`
  console.log(`${what}: ${text}; ${us}; ${seconds.toFixed(2)} s`)
}

keepFreedBlocks()
const work = mkdtempSync(join(tmpdir(), 'flistfs-bench-'))
try {
  const { indexPath, digest } = await locateIndex(resolve(archive), { cacheDir: work }, NEVER)
  const index = openIndex(indexPath, digest)
  const later: Cost[] = []
  for (let nth = 0; nth < Number(values.repeat); nth += 1) {
    const dir = mkdtempSync(join(work, 'cache-'))
    const cost = await measure(index, dir, store)
    rmSync(dir, { recursive: true })
    if (nth === 0) say('first', cost)
    else later.push(cost)
  }
  const [best] = later.toSorted((one, other) => one.thread - other.thread)
  if (best !== undefined) say('later, the best', best)
  index.close()
} finally {
  rmSync(work, { recursive: true, force: true })
}
