import { Worker } from 'node:worker_threads'
import { describeError, FlistError, type FlistErrorCode, isErrorCode, systemCode } from '../base/index.ts'
import { endThread } from './end-thread.ts'

/** Jobs in one thread: one at work, one that it begins with at once afterwards. */
const LANE_JOBS_MAX = 2

/** What a thread tells of a job that failed. */
export interface LaneFailure {
  readonly code: FlistErrorCode | undefined
  readonly message: string
  readonly hint: string | undefined
}

/** From a thread; `number` is that of the job. */
export type LaneReply<Result> = ({ readonly number: number } & Result) | { number: number; failure: LaneFailure }

interface Lane<Result> {
  readonly worker: Worker
  readonly ended: Promise<unknown>
  readonly pending: Map<number, { resolve(result: Result): void; reject(error: unknown): void }>
}

export interface LaneOptions {
  readonly url: URL
  /** Of the threads. */
  readonly name: string
  readonly threads: number
  readonly data: unknown
  /** What they cannot do, where they fail: "make blocks". */
  readonly purpose: string
}

/** Threads that each do one job after the other. A job is a record, which gets a number; the work goes to the one that has least. */
export class ThreadLanes<Job extends object, Result extends object> {
  readonly #purpose: string
  readonly #lanes: Lane<Result>[] = []
  #waiting: (() => void)[] = []
  #number = 0
  #broken: unknown

  constructor(options: LaneOptions) {
    this.#purpose = options.purpose
    for (let count = 0; count < options.threads; count += 1) this.#lanes.push(this.#openLane(options))
  }

  /** Ends when a thread can take more. Throws what broke the threads. */
  async room(): Promise<void> {
    while (this.#broken === undefined && !this.#lanes.some((lane) => lane.pending.size < LANE_JOBS_MAX)) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    if (this.#broken !== undefined) throw this.#broken
  }

  /** Buffers named in `moved` are the thread's from now on. */
  run(job: Job, moved: readonly ArrayBuffer[] = []): Promise<Result> {
    const lane = this.#lanes.reduce((best, each) => (each.pending.size < best.pending.size ? each : best))
    return this.#send(lane, job, moved)
  }

  /** As `run`, and always the same thread. */
  runFirst(job: Job): Promise<Result | undefined> {
    const [lane] = this.#lanes
    return lane === undefined ? Promise.resolve(undefined) : this.#send(lane, job, [])
  }

  /** Ends the threads, after what they have begun. Idempotent. */
  async close(): Promise<void> {
    const lanes = this.#lanes.splice(0)
    await Promise.all(lanes.map(({ worker, ended }) => endThread(worker, ended)))
  }

  #send(lane: Lane<Result>, job: Job, moved: readonly ArrayBuffer[]): Promise<Result> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken)
    const number = this.#number
    this.#number += 1
    const { promise, resolve, reject } = Promise.withResolvers<Result>()
    lane.pending.set(number, { resolve, reject })
    lane.worker.postMessage({ ...job, number }, [...moved])
    return promise
  }

  #openLane({ url, name, data }: LaneOptions): Lane<Result> {
    const worker = new Worker(url, { name, execArgv: [], workerData: data })
    const ended = new Promise((resolve) => worker.once('exit', resolve))
    const lane: Lane<Result> = { worker, ended, pending: new Map() }
    worker.on('message', (reply: LaneReply<Result>) => {
      const job = lane.pending.get(reply.number)
      lane.pending.delete(reply.number)
      if ('failure' in reply) job?.reject(this.#asError(reply.failure))
      else job?.resolve(reply)
      this.#wake()
    })
    // What killed one thread would kill the next.
    worker.on('error', (error) => this.#break(this.#asError(failureOf(error))))
    worker.on('exit', () => {
      if (this.#lanes.includes(lane)) this.#break(this.#failed('a thread ended'))
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

  #asError({ code, message, hint }: LaneFailure): FlistError {
    if (code !== undefined) return new FlistError(code, message, hint === undefined ? {} : { hint })
    return this.#failed(message)
  }

  #failed(why: string): FlistError {
    return new FlistError('FLIST_SYSTEM', `Cannot ${this.#purpose}: ${why}`)
  }
}

/** An error that left a thread by itself has lost its class on the way, not its fields. */
function failureOf(error: unknown): LaneFailure {
  const code = systemCode(error)
  const message = describeError(error)
  if (!isErrorCode(code)) return { code: undefined, message, hint: undefined }
  const { hint } = error as { readonly hint?: unknown }
  return { code, message, hint: typeof hint === 'string' ? hint : undefined }
}
