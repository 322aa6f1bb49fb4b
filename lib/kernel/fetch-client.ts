import { Worker } from 'node:worker_threads'
import { describeError, type Log } from '../base/index.ts'
import type { MissSink } from './answers.ts'
import type { FetchMessage, ReplyMessage, WholeMessage } from './fetch-messages.ts'

/** The session thread's end of the fetch thread. The thread starts at its first use, or by `start`. */
export class FetchClient implements MissSink {
  readonly #url: URL
  readonly #workerData: unknown
  readonly #log: Log
  #worker: Worker | undefined
  /** Files that the kernel may read itself, by row. */
  readonly whole = new Map<number, string>()
  /** Hears of reads where the thread has no device to write to. */
  onReply: ((reply: ReplyMessage) => void) | undefined

  /** `workerData` is what the thread needs to open index, cache and stores; it must be cloneable. */
  constructor(url: URL, workerData: unknown, log: Log) {
    this.#url = url
    this.#workerData = workerData
    this.#log = log
  }

  start(): Worker {
    if (this.#worker !== undefined) return this.#worker
    const worker = new Worker(this.#url, { workerData: this.#workerData })
    // Reads it had are lost to their deadline in the kernel; what comes next gets a new thread.
    worker.on('error', (error) => this.#log.error('the fetch thread failed', { error: describeError(error) }))
    worker.on('exit', () => (this.#worker = undefined))
    worker.on('message', (message: WholeMessage | ReplyMessage) => {
      if ('path' in message) this.whole.set(message.row, message.path)
      else this.onReply?.(message)
    })
    this.#worker = worker
    return worker
  }

  read(lo: number, hi: number, row: number, offset: number, bytes: number): void {
    this.#post({ op: 'read', lo, hi, row, offset, bytes })
  }

  reached(block: number): void {
    this.#post({ op: 'reached', block })
  }

  opened(row: number): void {
    this.#post({ op: 'opened', row })
  }

  used(segments: readonly number[]): void {
    this.#worker?.postMessage({ op: 'used', segments } satisfies FetchMessage)
  }

  interrupt(lo: number, hi: number): void {
    this.#worker?.postMessage({ op: 'interrupt', lo, hi } satisfies FetchMessage)
  }

  /** Lets the thread write what it has and close its cache. Resolves when it is gone. */
  async close(): Promise<void> {
    const worker = this.#worker
    if (worker === undefined) return
    const gone = new Promise((resolve) => worker.once('exit', resolve))
    this.#post({ op: 'close' })
    await gone
  }

  #post(message: FetchMessage): void {
    this.start().postMessage(message)
  }
}
