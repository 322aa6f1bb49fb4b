import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { FlistError, LIMITS, threadUrl, type FlistErrorCode } from '../base/index.ts'
import { BUSY_THREAD } from '../system/index.ts'
import { codecReady, prepareCodec } from './codec-tools.ts'
import { decodeBlock } from './codec.ts'
import { endThread } from './end-thread.ts'
import type { BlockFormat, BlockRef } from './port.ts'
import { giveStored, takeStored } from './spent.ts'

/** To a worker. The stored bytes are shared, not transferred: they are needed again where the worker dies. */
export interface DecodeJob {
  readonly number: number
  readonly format: BlockFormat
  readonly id: Uint8Array
  readonly key: Uint8Array
  readonly plainBytes: number
  readonly stored: Uint8Array
}

/** From a worker; `plain` is transferred. */
export type DecodeReply =
  | { readonly number: number; readonly plain: Uint8Array }
  | {
      readonly number: number
      readonly failure: { code: FlistErrorCode | undefined; message: string; hint: string | undefined }
    }

interface Pending {
  readonly ref: BlockRef
  readonly stored: Buffer
  /** The same bytes, where the worker reads them. */
  readonly shared: Buffer
  resolve(plain: Buffer): void
  reject(error: unknown): void
}

interface Lane {
  readonly worker: Worker
  readonly ended: Promise<unknown>
  readonly pending: Map<number, Pending>
  ready: boolean
  watch: NodeJS.Timeout | undefined
}

export interface DecodePoolOptions {
  /** Extra threads; by default one for each core but the caller's, at most three, at least one. */
  readonly workers?: number
  /** Stored bytes from which a block goes to a worker. */
  readonly offloadBytesMin?: number
  /** Where a worker's code is; for tests. */
  readonly workerUrl?: URL
}

/** Blocks waiting in one worker before the caller's own thread helps: enough to keep the worker busy meanwhile. */
const LANE_BLOCKS_MAX = 3
const OFFLOAD_BYTES_MIN = 64 * 1024
const WORKERS_MAX = 3

/**
 * Decodes blocks on all cores: large ones in worker threads, small ones and what the workers have no room for here.
 * Threads start with the first large block and, once they have, never keep the process alive by themselves.
 */
export class DecodePool {
  readonly #workers: number
  readonly #offloadBytesMin: number
  readonly #url: URL
  readonly #lanes: Lane[] = []
  #started = false
  #closed = false
  #number = 0

  constructor(options: DecodePoolOptions = {}) {
    this.#workers = options.workers ?? Math.min(WORKERS_MAX, Math.max(1, availableParallelism() - 1))
    this.#offloadBytesMin = options.offloadBytesMin ?? OFFLOAD_BYTES_MIN
    this.#url = options.workerUrl ?? threadUrl('decode-worker', import.meta.url)
  }

  /**
   * As `decodeBlock`; a promise where another thread does it. `stored` must not be changed afterwards. The answer is a
   * value where it was found here.
   */
  decode(ref: BlockRef, stored: Buffer): Buffer | Promise<Buffer> {
    if (!codecReady()) return prepareCodec().then(() => this.decode(ref, stored))
    if (stored.length < this.#offloadBytesMin || this.#closed) return decodeBlock(ref, stored)
    if (!this.#started) this.#start()
    const lane = this.#freeLane()
    return lane === undefined ? decodeBlock(ref, stored) : this.#send(lane, ref, stored)
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all(
      this.#lanes.splice(0).map(async (lane) => {
        failOver(lane)
        await endThread(lane.worker, lane.ended)
      }),
    )
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #start(): void {
    this.#started = true
    for (let count = 0; count < this.#workers; count += 1) this.#lanes.push(this.#openLane())
  }

  #openLane(): Lane {
    const worker = new Worker(this.#url, { name: 'flistfs-decode', execArgv: [], resourceLimits: BUSY_THREAD })
    const ended = new Promise((resolve) => worker.once('exit', resolve))
    const lane: Lane = { worker, ended, pending: new Map(), ready: false, watch: undefined }
    worker.on('message', (message: DecodeReply | 'ready') => {
      if (message !== 'ready') return settle(lane, message)
      lane.ready = true
      // Not before: a process that ends while a thread loads native libraries crashes.
      worker.unref()
    })
    // A thread that dies is not replaced: what killed it would come again, and this thread can do the work.
    worker.on('error', () => this.#drop(lane))
    worker.on('exit', () => this.#drop(lane))
    return lane
  }

  #drop(lane: Lane): void {
    const at = this.#lanes.indexOf(lane)
    if (at >= 0) this.#lanes.splice(at, 1)
    failOver(lane)
  }

  #freeLane(): Lane | undefined {
    let best: Lane | undefined
    for (const lane of this.#lanes) {
      if (!lane.ready || lane.pending.size >= LANE_BLOCKS_MAX) continue
      if (best === undefined || lane.pending.size < best.pending.size) best = lane
    }
    return best
  }

  #send(lane: Lane, ref: BlockRef, stored: Buffer): Promise<Buffer> {
    const number = this.#number
    this.#number += 1
    const { format, plainBytes } = ref
    // Copies: a view is sent with all of the memory that it looks at, which is the whole index of an archive.
    const [id, key] = [new Uint8Array(ref.id), new Uint8Array(ref.key)]
    const shared = asShared(stored)
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    if (lane.pending.size === 0) this.#guard(lane)
    lane.pending.set(number, { ref, stored, shared, resolve, reject })
    lane.worker.postMessage({ number, format, id, key, plainBytes, stored: shared } satisfies DecodeJob)
    return promise
  }

  /** While a worker has work the process waits for it, but not for ever. */
  #guard(lane: Lane): void {
    lane.worker.ref()
    lane.watch = setTimeout(() => {
      this.#drop(lane)
      void lane.worker.terminate()
    }, LIMITS.tryTimeoutMs)
  }
}

function settle(lane: Lane, reply: DecodeReply): void {
  const job = lane.pending.get(reply.number)
  // Decoded here meanwhile, the worker is being ended: to unref it now would let the process go before that.
  if (job === undefined) return
  lane.pending.delete(reply.number)
  if (lane.pending.size === 0) rest(lane)
  else lane.watch?.refresh()
  if (job.shared !== job.stored) giveStored(job.shared)
  if ('plain' in reply) job.resolve(Buffer.from(reply.plain.buffer, reply.plain.byteOffset, reply.plain.byteLength))
  else if (reply.failure.code === undefined) inline(job)
  else job.reject(asError(reply.failure.code, reply.failure.message, reply.failure.hint))
}

/** Sent as it is, a buffer is copied twice, into fresh memory each time: 340 us, against 25 us for one copy here. */
function asShared(stored: Buffer): Buffer {
  if (stored.buffer instanceof SharedArrayBuffer) return stored
  const shared = takeStored(stored.length)
  shared.set(stored)
  return shared
}

function asError(code: FlistErrorCode, message: string, hint: string | undefined): FlistError {
  return new FlistError(code, message, hint === undefined ? {} : { hint })
}

function rest(lane: Lane): void {
  clearTimeout(lane.watch)
  lane.worker.unref()
}

/** The worker is gone: its blocks are decoded here. */
function failOver(lane: Lane): void {
  rest(lane)
  const jobs = [...lane.pending.values()]
  lane.pending.clear()
  for (const job of jobs) inline(job)
}

function inline(job: Pending): void {
  try {
    job.resolve(decodeBlock(job.ref, job.stored))
  } catch (error) {
    job.reject(error)
  }
}
