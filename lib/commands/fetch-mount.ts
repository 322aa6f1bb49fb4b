import { describeError, ERRNO, LIMITS, Log, openAtEnd } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import {
  controlSocketPath,
  type ControlServer,
  Counters,
  FetchServer,
  type MountMessage,
  PendingRequests,
  PostedReads,
  type ReadMessage,
  type ReadReply,
  refuseRead,
  serveControl,
  type ServeWords,
  Trace,
} from '../kernel/index.ts'
import {
  CachedReader,
  type DecodePool,
  openReader,
  parseStoreRoute,
  type ReaderRoute,
  warmStores,
} from '../store/index.ts'
import { BlockTable, Fetcher, type SegmentFiles } from '../vfs/index.ts'
import type { CachePool } from './cache-pool.ts'
import type { MetricsDesk } from './metrics-desk.ts'
import { openAgain } from './open-index.ts'
import { ServerAnswers, type ServerParts } from './server-answers.ts'

/** What the fetch thread is told of a mount. */
export interface FetchMountData extends Omit<ServeWords, 'logLevel'> {
  readonly id: string
  /** The device; undefined: replies go to the session. */
  readonly fd: number | undefined
  /** Where reads are noted until they are answered; `file`: in that of `PendingRequests`; undefined: nowhere. */
  readonly posted: SharedArrayBuffer | 'file' | undefined
  readonly table: SharedArrayBuffer
  readonly counters: SharedArrayBuffer
  readonly trace: SharedArrayBuffer
  /** Shared, because it changes at run time. */
  readonly logLevel: SharedArrayBuffer
}

/** What the mounts of a fetch thread have together. */
export interface FetchShare {
  readonly caches: CachePool
  /** Segments of the one cache that the mounts of a server have. */
  readonly files: SegmentFiles
  readonly pool: DecodePool
  readonly metrics: MetricsDesk
  /** Mounts that are open. */
  readonly mounts: () => number
  readonly onWhole: (row: number, path: string) => void
  readonly onReply: (reply: ReadReply) => void
}

/** One mount in the fetch thread: its stores, its part of the cache, and who asks about it. */
export class FetchMount {
  readonly parts: ServerParts
  readonly #closing = new AbortController()
  readonly #filling: Promise<void>
  readonly #control: ControlServer | undefined
  readonly #leave: () => Promise<void>
  readonly #notes: Notes

  private constructor(
    parts: ServerParts,
    control: ControlServer | undefined,
    leave: () => Promise<void>,
    notes: Notes,
  ) {
    this.parts = parts
    this.#notes = notes
    this.#control = control
    this.#leave = leave
    const { data, fetcher, table, index, server } = parts
    this.#filling = data.verifyAlways ? Promise.resolve() : fetcher.fillTable(this.#closing.signal)
    // Before somebody waits for it: it is 70 ms of work.
    void this.#filling.then(() => {
      const isWhole = this.#closing.signal.aborted || table.filled === index.blockCount
      return isWhole ? undefined : warmStores(routesOf(data, index), data.baseDir)
    })
    if (data.passthrough) {
      void this.#filling.then(() => (this.#closing.signal.aborted ? undefined : server.announceAll()))
    }
  }

  /** Throws what the index and the cache throw. */
  static async open(data: FetchMountData, share: FetchShare): Promise<FetchMount> {
    const log = new Log(data.logFile === undefined ? 2 : openAtEnd(data.logFile, 0o640), data.logLevel)
    const undo: (() => unknown)[] = [() => log.close()]
    try {
      const index = await openAgain(data)
      undo.push(() => index.close())
      const { cache, release } = await share.caches.acquire(data, log)
      undo.push(release)
      const notes = openNotes(data)
      undo.push(() => notes.close())
      const parts = partsOf(data, index, cache, log, share, notes.reads)
      undo.push(() => parts.reader[Symbol.asyncDispose]())
      const answers = new ServerAnswers(parts)
      const control = await serveControl(controlSocketPath(data.id), (request) => answers.answer(request)).catch(
        // Readers are served all the same.
        (error: unknown) =>
          log.warn('stats, why, log-level and trace cannot be asked', { error: describeError(error) }),
      )
      undo.push(() => control?.close())
      const leaveMetrics = share.metrics.join(parts, answers)
      undo.push(leaveMetrics)
      return new FetchMount(
        parts,
        control ?? undefined,
        async () => {
          await leaveMetrics()
          await parts.reader[Symbol.asyncDispose]()
          await release()
        },
        notes,
      )
    } catch (error) {
      log.error('a mount cannot be opened', { error: describeError(error) })
      for (const step of undo.toReversed()) await step()
      throw error
    }
  }

  take(message: MountMessage): void {
    this.parts.server.take(message)
  }

  /** Grows with each read that came by here and each block that was asked for, also ahead or in vain. */
  get work(): number {
    return this.parts.counters.get('readsFetched') + this.parts.reader.counters.misses
  }

  /** Every wait of this mount ends; nothing of it is touched afterwards. */
  async close(): Promise<void> {
    const { fetcher, server, index, trace, log } = this.parts
    this.#closing.abort()
    fetcher.close()
    await this.#filling
    await this.#control?.close()
    await this.#leave()
    // Readers are answered before the device and the index go.
    while (server.waiting > 0) await new Promise(setImmediate)
    this.#notes.close()
    await new Promise(setImmediate)
    trace.settle()
    index.close()
    log.close()
  }
}

function partsOf(
  data: FetchMountData,
  index: FlistIndex,
  cache: Awaited<ReturnType<CachePool['acquire']>>['cache'],
  log: Log,
  { files, pool, mounts, onWhole, onReply }: FetchShare,
  posted: PostedReads | undefined,
): ServerParts {
  const { timeoutMs, baseDir } = data
  const stores = openReader({ routes: routesOf(data, index), baseDir, timeoutMs, log, pool })
  const reader = new CachedReader(cache, stores, { failureMemoryMs: LIMITS.failureMemoryMs, log })
  const table = new BlockTable(index.blockCount, data.table)
  const fetcher = new Fetcher({ index, table, files, cache, reader, log, timeoutMs, waits: data.onError === 'wait' })
  const counters = new Counters(data.counters)
  const trace = new Trace(data.trace)
  const server = new FetchServer({ fd: data.fd, fetcher, counters, log, trace, posted, onWhole, onReply })
  return { data, startedAt: Date.now(), index, table, fetcher, reader, stores, server, counters, trace, log, mounts }
}

/** Where the reads of a mount are noted, as this thread has it. */
interface Notes {
  readonly reads: PostedReads | undefined
  close(): void
}

function openNotes({ id, posted }: FetchMountData): Notes {
  if (posted === 'file') return new PendingRequests(id)
  return { reads: posted && new PostedReads(posted), close: () => undefined }
}

/** Answers a read of a mount that cannot be opened. */
export function refuse(data: FetchMountData, message: ReadMessage): void {
  if (data.fd === undefined) return
  refuseRead(data.fd, message, ERRNO.EIO)
  const notes = openNotes(data)
  notes.reads?.clear(message.slot)
  notes.close()
}

/** `--store` replaces the archive's own routes. */
function routesOf(data: FetchMountData, index: FlistIndex): ReaderRoute[] {
  if (data.stores.length === 0) return [...index.routes]
  return data.stores.map((words) => ({ ...parseStoreRoute(words), trusted: true }))
}
