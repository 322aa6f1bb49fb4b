import { Worker } from 'node:worker_threads'
import { describeError, type Log } from '../base/index.ts'
import { BUSY_THREAD } from '../system/index.ts'
import type { MissSink } from './answers.ts'
import type { FetchMessage, FetchReply, ReadReply } from './fetch-messages.ts'
import type { PendingRequests } from './pending.ts'

/** Milliseconds until the reads of a fetch thread that died are asked again: what killed it may do so again. */
const RECOVER_MS = 200

export interface FetchMountParts {
  /** What the thread needs to open index, cache and stores; it must be cloneable. */
  readonly data: unknown
  readonly log: Log
  /** The thread died with reads of this mount. */
  readonly onLost: () => void
}

/** The session thread's end of the fetch thread, which all mounts share. The thread starts at its first use. */
export class FetchClient {
  readonly #url: URL
  readonly #mounts = new Map<number, FetchMount>()
  #worker: Worker | undefined
  #count = 0
  /** All mounts are gone. */
  ended = false

  constructor(url: URL) {
    this.#url = url
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

  start(): Worker {
    if (this.#worker !== undefined) return this.#worker
    const worker = new Worker(this.#url, { resourceLimits: BUSY_THREAD })
    worker.on('error', (error) => {
      for (const mount of this.#mounts.values()) mount.complain(describeError(error))
    })
    worker.on('exit', () => this.#lose(worker))
    worker.on('message', (reply: FetchReply) => this.#mounts.get(reply.mount)?.hear(reply))
    this.#worker = worker
    return worker
  }

  /** Lets the thread write what it has and close its caches. Resolves when it is gone. */
  async close(): Promise<void> {
    this.ended = true
    const worker = this.#worker
    if (worker === undefined) return
    const gone = new Promise((resolve) => worker.once('exit', resolve))
    worker.postMessage({ op: 'end' } satisfies FetchMessage)
    await gone
  }

  #lose(worker: Worker): void {
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
    this.#post({ op: 'read', mount: this.#number, lo, hi, row, offset, bytes, slot })
  }

  /** Asks again what a server or thread that is dead had been asked. */
  readAgain(): void {
    for (const read of this.pending?.left() ?? []) this.#post({ op: 'read', mount: this.#number, ...read })
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
  hear(reply: FetchReply): void {
    if (reply.op === 'whole') this.whole.set(reply.row, reply.path)
    else if (reply.op === 'reply') this.onReply?.(reply)
    else this.#closed?.()
  }

  /** For `FetchClient` alone: this thread has ended. */
  lose(worker: Worker): void {
    if (this.#worker !== worker) return
    this.#worker = undefined
    this.#closed?.()
    setTimeout(() => this.#ended || this.#client.ended || this.#parts.onLost(), RECOVER_MS)
  }

  /** For `FetchClient` alone. */
  complain(error: string): void {
    this.#parts.log.error('the fetch thread failed', { error })
  }

  #post(message: FetchMessage): void {
    this.#told().postMessage(message)
  }

  #told(): Worker {
    const worker = this.#client.start()
    if (worker !== this.#worker) {
      const data: unknown = this.#parts.data
      worker.postMessage({ op: 'open', mount: this.#number, data } satisfies FetchMessage)
      this.#worker = worker
    }
    return worker
  }
}
