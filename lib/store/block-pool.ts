import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { FlistError } from '../base/index.ts'
import type { BlockJob, BlockReply, BlockThreadData } from './block-jobs.ts'

/** Jobs in one thread: one at work, one that it begins with at once afterwards. */
const LANE_JOBS_MAX = 2
const THREADS_MAX = 8
/** Milliseconds until a thread that should end is ended. */
const CLOSE_MS = 10_000

type Unnumbered<T> = T extends { number: number } ? Omit<T, 'number'> : never
export type BlockWork = Unnumbered<BlockJob>
export type BlockResults = Extract<BlockReply, { results: Uint8Array }>

interface Lane {
  readonly worker: Worker
  readonly ended: Promise<unknown>
  readonly pending: Map<number, { resolve(results: BlockResults): void; reject(error: unknown): void }>
}

/** Threads that read pieces of files and make blocks of them. The work goes to the one that has least. */
export class BlockPool {
  readonly #lanes: Lane[] = []
  #waiting: (() => void)[] = []
  #number = 0
  #broken: unknown

  /** `threads`: one a core by default. */
  constructor(data: BlockThreadData, threads = Math.min(THREADS_MAX, availableParallelism())) {
    // TypeScript does not rewrite URLs: the published file ends in .js.
    const suffix = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    const url = new URL(`./block-worker.${suffix}`, import.meta.url)
    for (let count = 0; count < threads; count += 1) this.#lanes.push(this.#openLane(url, data))
  }

  /** Ends when a thread can take more. Throws what broke the pool. */
  async room(): Promise<void> {
    while (this.#broken === undefined && !this.#lanes.some((lane) => lane.pending.size < LANE_JOBS_MAX)) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    if (this.#broken !== undefined) throw this.#broken
  }

  /** Buffers named in `moved` are the thread's from now on. */
  run(work: BlockWork, moved: readonly ArrayBuffer[] = []): Promise<BlockResults> {
    const lane = this.#lanes.reduce((best, each) => (each.pending.size < best.pending.size ? each : best))
    return this.#send(lane, work, moved)
  }

  /** All that was stored in folders is on the disk. */
  async sync(): Promise<void> {
    const [lane] = this.#lanes
    if (lane !== undefined) await this.#send(lane, { kind: 'sync' }, [])
  }

  /** Ends the threads, after what they have begun. Idempotent. */
  async close(): Promise<void> {
    const lanes = this.#lanes.splice(0)
    await Promise.all(
      lanes.map(async ({ worker, ended }) => {
        worker.postMessage('close')
        const late = setTimeout(() => void worker.terminate(), CLOSE_MS)
        await ended
        clearTimeout(late)
      }),
    )
  }

  #send(lane: Lane, work: BlockWork, moved: readonly ArrayBuffer[]): Promise<BlockResults> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken)
    const number = this.#number
    this.#number += 1
    const { promise, resolve, reject } = Promise.withResolvers<BlockResults>()
    lane.pending.set(number, { resolve, reject })
    lane.worker.postMessage({ ...work, number }, [...moved])
    return promise
  }

  #openLane(url: URL, data: BlockThreadData): Lane {
    const worker = new Worker(url, { name: 'flistfs-blocks', execArgv: [], workerData: data })
    const ended = new Promise((resolve) => worker.once('exit', resolve))
    const lane: Lane = { worker, ended, pending: new Map() }
    worker.on('message', (reply: BlockReply) => {
      const job = lane.pending.get(reply.number)
      lane.pending.delete(reply.number)
      if ('failure' in reply) job?.reject(asError(reply.failure))
      else job?.resolve(reply)
      this.#wake()
    })
    // What killed one thread would kill the next.
    worker.on('error', (error) =>
      this.#break(error instanceof FlistError ? error : asError({ message: String(error) })),
    )
    worker.on('exit', () => {
      if (this.#lanes.includes(lane)) this.#break(asError({ message: 'a thread ended' }))
    })
    return lane
  }

  #break(error: unknown): void {
    this.#broken ??= error
    for (const lane of this.#lanes) {
      for (const job of lane.pending.values()) job.reject(this.#broken)
      lane.pending.clear()
    }
    this.#wake()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}

interface Failure {
  readonly code?: FlistError['code'] | undefined
  readonly message: string
  readonly hint?: string | undefined
}

function asError({ code, message, hint }: Failure): FlistError {
  if (code !== undefined) return new FlistError(code, message, hint === undefined ? {} : { hint })
  return new FlistError('FLIST_SYSTEM', `Cannot make blocks: ${message}`)
}
