import { openSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { describeError, invariant, LIMITS, Log } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import { controlSocketPath, Counters, FetchServer, serveControl, type ServeWords, Trace } from '../kernel/index.ts'
import {
  BlockCache,
  CachedReader,
  defaultCacheBytes,
  forgetStored,
  openReader,
  parseStoreRoute,
  type ReaderRoute,
  warmStores,
} from '../store/index.ts'
import { giveBackMemory, keepFreedBlocks } from '../system/index.ts'
import { BlockTable, Fetcher, SegmentFiles } from '../vfs/index.ts'

import { openAgain } from './open-index.ts'
import { ServerAnswers, type ServerParts } from './server-answers.ts'

const SETTLE_EVERY_MS = 1000

/** What the fetch thread of a mount is started with. */
export interface FetchThreadData extends Omit<ServeWords, 'logLevel'> {
  readonly id: string
  /** The device; undefined: replies go to the session. */
  readonly fd: number | undefined
  readonly table: SharedArrayBuffer
  readonly counters: SharedArrayBuffer
  readonly trace: SharedArrayBuffer
  /** Shared, because it changes at run time. */
  readonly logLevel: SharedArrayBuffer
}

/** The fetch thread: opens cache and stores, and serves misses and questions until the session says `close`. */
async function main(data: FetchThreadData): Promise<void> {
  invariant(parentPort, 'fetch-thread runs as a worker')
  keepFreedBlocks()
  const startedAt = Date.now()
  const log = new Log(data.logFile === undefined ? 2 : openSync(data.logFile, 'a', 0o640), data.logLevel)
  const index = await openAgain(data, AbortSignal.timeout(LIMITS.compileWaitMs))
  const cache = await BlockCache.open(data.cacheDir, {
    bytesMax: data.cacheBytesMax ?? defaultCacheBytes(data.cacheDir),
    freeBytesMin: LIMITS.freeDiskBytesMin,
    verifyAlways: data.verifyAlways,
    log,
  })
  const stores = openReader({ routes: routesOf(data, index), baseDir: data.baseDir, timeoutMs: data.timeoutMs, log })
  const reader = new CachedReader(cache, stores, { failureMemoryMs: LIMITS.failureMemoryMs, log })
  const table = new BlockTable(index.blockCount, data.table)
  const files = new SegmentFiles(data.cacheDir)
  const fetcher = new Fetcher({
    index,
    table,
    files,
    cache,
    reader,
    log,
    timeoutMs: data.timeoutMs,
    waits: data.onError === 'wait',
  })
  const counters = new Counters(data.counters)
  const trace = new Trace(data.trace)
  const server = new FetchServer({ port: parentPort, fd: data.fd, fetcher, counters, log, trace })
  const closing = new AbortController()
  process.on('uncaughtException', (error) =>
    log.error('a fault of ours', { error: describeError(error), stack: error.stack }),
  )
  const running = server.run()
  const parts = {
    data,
    startedAt,
    index,
    table,
    fetcher,
    reader,
    stores,
    server,
    counters,
    trace,
    log,
  }
  const answers = new ServerAnswers(parts)
  const control = await serveControl(controlSocketPath(data.id), (request) => answers.answer(request))
  const metrics = await metricsOf(parts, answers)
  const filling = data.verifyAlways ? Promise.resolve() : fetcher.fillTable(closing.signal)
  // Before somebody waits for it: it is 70 ms of work.
  void filling.then(() => {
    const isWhole = table.filled === index.blockCount
    return isWhole || closing.signal.aborted ? undefined : warmStores(routesOf(data, index), data.baseDir)
  })
  if (data.passthrough) void filling.then(() => server.announceAll())
  const settling = settleWhenIdle(server, counters, index, () => {
    files.releaseUnlinked()
    cache.releaseUnlinked()
  })
  await running
  clearInterval(settling)
  closing.abort()
  fetcher.close()
  await filling
  await metrics?.close()
  await control.close()
  await reader[Symbol.asyncDispose]()
  await cache.close()
  index.close()
  parentPort.close()
}

/** When nothing was fetched for a second, what the work took is given back: buffers, pages of the index. */
function settleWhenIdle(
  server: FetchServer,
  counters: Counters,
  index: FlistIndex,
  release: () => void,
): NodeJS.Timeout {
  let seen = 0
  let settled = 0
  return setInterval(() => {
    const fetched = counters.get('readsFetched')
    if (fetched === seen && fetched !== settled && server.waiting === 0) {
      settled = fetched
      forgetStored()
      giveBackMemory()
    }
    if (fetched === seen) index.release()
    release()
    seen = fetched
  }, SETTLE_EVERY_MS)
}

/** Whoever asks for no metrics does not load them. An address that is taken does not end a mount. */
async function metricsOf(
  parts: ServerParts,
  answers: ServerAnswers,
): Promise<{ close: () => Promise<void> } | undefined> {
  const { data, log } = parts
  if (data.metrics === undefined) return undefined
  try {
    const [{ Metrics }, { serveMetrics }] = await Promise.all([import('./metrics.ts'), import('./metrics-server.ts')])
    const metrics = new Metrics(parts, answers)
    return await serveMetrics(data.metrics, () => metrics.render())
  } catch (error) {
    log.error('metrics are not served', { error: describeError(error) })
    return undefined
  }
}

/** `--store` replaces the archive's own routes. */
function routesOf(data: FetchThreadData, index: FlistIndex): ReaderRoute[] {
  if (data.stores.length === 0) return [...index.routes]
  return data.stores.map((words) => ({ ...parseStoreRoute(words), trusted: true }))
}

await main(workerData as FetchThreadData)
