import { Worker } from 'node:worker_threads'
import { describeError, ERRNO, type Log } from '../base/index.ts'
import { BUSY_THREAD } from '../system/index.ts'
import type { MissSink } from './answers.ts'
import type { FetchMessage, FetchReply, ReadMessage, ReadReply } from './fetch-messages.ts'
import { refuseRead } from './fetch-server.ts'
import type { PendingRequests } from './pending.ts'

/** Milliseconds until the reads of a fetch thread that died are asked again: what killed it may do so again. */
const RECOVER_MS = 200
/** Milliseconds that a thread gets to come up, at the least, before reads are refused for it; and between tries from then on. */
const COME_UP_MS = 5_000
const TRY_EVERY_MS = 1_000
/** Milliseconds that a thread gets to end: whoever unmounts waits for it. */
const END_MS = 10_000
/** Milliseconds that it gets once it has closed all. */
const LEAVE_MS = 200
/** Milliseconds between two lines of a log about it. */
const SAY_EVERY_MS = 10_000

export interface FetchMountParts {
  /** What the thread needs to open index, cache and stores; it must be cloneable. */
  readonly data: unknown
  readonly log: Log
  /** The thread died with reads of this mount. */
  readonly onLost: () => void
  /** The device, and the milliseconds that its reads wait for a thread which does not come up; undefined: they wait, or are not ours. */
  readonly refuse?: { readonly fd: number; readonly afterMs: number } | undefined
}

/** The session thread's end of the fetch thread, which all mounts share. The thread starts at its first use. */
export class FetchClient {
  readonly #url: URL
  readonly #handOver: () => boolean
  readonly #mounts = new Map<number, FetchMount>()
  #worker: Worker | undefined
  #count = 0
  /** Since when a thread that is wanted does not come up; `performance.now()`. One that died unused is not wanted yet. */
  #downSince = Infinity
  #startedAt = -Infinity
  #waiting = false
  #onOver: (() => void) | undefined
  /** All mounts are gone. */
  ended = false
  /** It did not end: a call of a disk that is away, or of a server of names, holds it. The process can leave by `exitNow` only. */
  isStuck = false

  /** Where `handOver` says yes, a thread of ours must not start: another server is on its way, which will be asked again. */
  constructor(url: URL, handOver: () => boolean = () => false) {
    this.#url = url
    this.#handOver = handOver
  }

  /** The thread hears of the mount with the first thing that is asked of it. */
  add(parts: FetchMountParts): FetchMount {
    this.#count += 1
    const mount = new FetchMount(this.#count, parts, this)
    this.#mounts.set(this.#count, mount)
    return mount
  }

  /** For `FetchMount` alone. */
  forget(mount: number): void {
    this.#mounts.delete(mount)
  }

  used(segments: readonly number[]): void {
    this.#worker?.postMessage({ op: 'used', segments } satisfies FetchMessage)
  }

  get worker(): Worker | undefined {
    return this.#worker
  }

  /** Milliseconds. */
  get downMs(): number {
    return Math.max(0, performance.now() - this.#downSince)
  }

  /** For reads that do not wait for it. */
  tryToStart(): void {
    if (performance.now() - this.#startedAt > TRY_EVERY_MS) this.start()
  }

  /** Undefined: not by us. */
  start(): Worker | undefined {
    if (this.#worker !== undefined) return this.#worker
    this.#startedAt = performance.now()
    this.#downSince = Math.min(this.#downSince, this.#startedAt)
    if (this.#handOver()) return this.#wait()
    const worker = new Worker(this.#url, { resourceLimits: BUSY_THREAD })
    worker.on('error', (error) => {
      for (const mount of this.#mounts.values()) mount.complain(describeError(error))
    })
    worker.on('exit', () => this.#lose(worker))
    worker.on('message', (reply: FetchReply) => {
      if (reply.op === 'up') this.#downSince = Infinity
      else if (reply.op === 'over') this.#onOver?.()
      else this.#mounts.get(reply.mount)?.hear(reply)
    })
    this.#worker = worker
    return worker
  }

  /** Lets the thread write what it has and close its caches. Resolves when it is gone, or is stuck. */
  async close(): Promise<void> {
    this.ended = true
    const worker = this.#worker
    if (worker === undefined) return
    const { promise: gone, resolve } = Promise.withResolvers<unknown>()
    worker.once('exit', resolve)
    worker.postMessage({ op: 'end' } satisfies FetchMessage)
    const stuck = (): void => {
      this.isStuck = true
      this.#lose(worker)
      resolve(undefined)
    }
    let late = setTimeout(stuck, END_MS)
    this.#onOver = () => {
      clearTimeout(late)
      late = setTimeout(stuck, LEAVE_MS)
    }
    await gone
    clearTimeout(late)
  }

  /** For the other server; where it does not come, the reads are asked again here. */
  #wait(): undefined {
    if (this.#waiting) return
    this.#waiting = true
    setTimeout(() => {
      this.#waiting = false
      this.#lose(undefined)
    }, TRY_EVERY_MS)
  }

  #lose(worker: Worker | undefined): void {
    if (this.#worker === worker) this.#worker = undefined
    for (const mount of this.#mounts.values()) mount.lose(worker)
  }
}

/** What the session asks of the fetch thread for one mount. */
export class FetchMount implements MissSink {
  readonly #number: number
  readonly #parts: FetchMountParts
  readonly #client: FetchClient
  /** Who was told of this mount. */
  #worker: Worker | undefined
  #closed: (() => void) | undefined
  #ended = false
  #saidAt = -Infinity
  /** Files that the kernel may read itself, by row. */
  readonly whole = new Map<number, string>()
  /** Where reads are noted for the next server, on a kernel that cannot repeat them. */
  pending: PendingRequests | undefined
  /** Hears of reads where the thread has no device to write to. */
  onReply: ((reply: ReadReply) => void) | undefined

  constructor(number: number, parts: FetchMountParts, client: FetchClient) {
    this.#number = number
    this.#parts = parts
    this.#client = client
  }

  start(): void {
    this.#told()
  }

  read(lo: number, hi: number, row: number, offset: number, bytes: number): void {
    const slot = this.pending?.keep(lo, hi, row, offset, bytes) ?? -1
    this.#read({ op: 'read', mount: this.#number, lo, hi, row, offset, bytes, slot })
  }

  /** Asks again what a server or thread that is dead had been asked. */
  readAgain(): void {
    for (const read of this.pending?.left() ?? []) this.#read({ op: 'read', mount: this.#number, ...read })
  }

  reached(block: number): void {
    this.#post({ op: 'reached', mount: this.#number, block })
  }

  opened(row: number): void {
    this.#post({ op: 'opened', mount: this.#number, row })
  }

  interrupt(lo: number, hi: number): void {
    this.#worker?.postMessage({ op: 'interrupt', mount: this.#number, lo, hi } satisfies FetchMessage)
  }

  /** Resolves when the thread has let go of all that is this mount's. */
  async close(): Promise<void> {
    this.#ended = true
    const worker = this.#worker
    if (worker !== undefined) {
      const gone = new Promise<void>((resolve) => (this.#closed = resolve))
      worker.postMessage({ op: 'close', mount: this.#number } satisfies FetchMessage)
      await gone
    }
    this.#client.forget(this.#number)
  }

  /** For `FetchClient` alone. */
  hear(reply: Exclude<FetchReply, { op: 'up' | 'over' }>): void {
    if (reply.op === 'whole') this.whole.set(reply.row, reply.path)
    else if (reply.op === 'reply') this.onReply?.(reply)
    else this.#closed?.()
  }

  /** For `FetchClient` alone: this thread has ended. */
  lose(worker: Worker | undefined): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    this.#closed?.()
    setTimeout(() => this.#ended || this.#client.ended || this.#parts.onLost(), RECOVER_MS)
  }

  /** For `FetchClient` alone. */
  complain(error: string): void {
    this.#parts.log.error('the fetch thread failed', { error })
  }

  /** Whoever reads must not wait for ever for a thread whose files are gone, say. */
  #read(message: ReadMessage): void {
    const { refuse, log } = this.#parts
    if (refuse === undefined || this.#client.downMs < Math.max(refuse.afterMs, COME_UP_MS)) return this.#post(message)
    refuseRead(refuse.fd, message, ERRNO.EIO)
    this.pending?.clear(message.slot)
    if (performance.now() - this.#saidAt > SAY_EVERY_MS) {
      this.#saidAt = performance.now()
      log.error('reads are refused: the fetch thread does not start', { hint: 'Look at the files of the program' })
    }
    this.#client.tryToStart()
  }

  #post(message: FetchMessage): void {
    this.#told()?.postMessage(message)
  }

  #told(): Worker | undefined {
    const worker = this.#client.start()
    if (worker !== undefined && worker !== this.#worker) {
      const data: unknown = this.#parts.data
      worker.postMessage({ op: 'open', mount: this.#number, data } satisfies FetchMessage)
      this.#worker = worker
    }
    return worker
  }
}
