import { Worker } from 'node:worker_threads'
import { describeError, ERRNO, type Log } from '../base/index.ts'
import { BUSY_THREAD } from '../system/index.ts'
import type { MissSink } from './answers.ts'
import type { FetchMessage, FetchReply, ReadMessage, ReadReply } from './fetch-messages.ts'
import { refuseRead } from './fetch-server.ts'
import { LateReads } from './late-reads.ts'
import type { PostedReads } from './posted-reads.ts'

/** Milliseconds until the reads of a fetch thread that died are asked again: what killed it may do so again. */
const RECOVER_MS = 200
/** Milliseconds that a thread gets to come up, at the least, before reads are refused for it; and between tries from then on. */
const COME_UP_MS = 5_000
const TRY_EVERY_MS = 1_000
/** Milliseconds that a thread gets to end, or to let go of a mount: whoever unmounts waits for it. */
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
  /**
   * The device, and the milliseconds that its reads wait for a thread which does not come up, or beyond which one that hangs is not
   * waited for; undefined: they wait, or are not ours.
   */
  readonly refuse?: { readonly fd: number; readonly afterMs: number; readonly cacheDir: string } | undefined
  /** Where reads are noted until they are answered; undefined: they are not ours. */
  readonly posted?: PostedReads | undefined
  /** The kernel does not repeat what a thread that died had: `readAgain` does. */
  readonly asksAgain?: boolean
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
  /** Undefined: reads wait, or are not ours. */
  readonly #late: LateReads | undefined
  /** It did not let go of this mount: it may write to the device yet. */
  #isStuck = false
  /** Files that the kernel may read itself, by row. */
  readonly whole = new Map<number, string>()
  /** Hears of reads where the thread has no device to write to. */
  onReply: ((reply: ReadReply) => void) | undefined

  constructor(number: number, parts: FetchMountParts, client: FetchClient) {
    this.#number = number
    this.#parts = parts
    this.#client = client
    const { posted, refuse, log } = parts
    if (posted === undefined || refuse === undefined) return
    const { fd, cacheDir } = refuse
    const timeoutMs = Math.max(refuse.afterMs, COME_UP_MS)
    this.#late = new LateReads({ posted, fd, timeoutMs, cacheDir, log, say: (why, hint) => this.#say(why, hint) })
  }

  start(): void {
    this.#told()
  }

  read(lo: number, hi: number, row: number, offset: number, bytes: number): void {
    const slot = this.#parts.posted?.keep(lo, hi, row, offset, bytes, this.#late?.now ?? 0) ?? -1
    this.#read({ op: 'read', mount: this.#number, lo, hi, row, offset, bytes, slot })
  }

  /** Asks again what a server or thread that is dead had been asked. */
  readAgain(): void {
    const { posted } = this.#parts
    for (const read of posted?.left() ?? []) {
      posted?.renew(read.slot, this.#late?.now ?? 0)
      this.#read({ op: 'read', mount: this.#number, ...read })
    }
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

  /** Resolves when the thread has let go of all that is this mount's, or is stuck. */
  async close(): Promise<void> {
    this.#ended = true
    this.#late?.stop()
    const worker = this.#worker
    if (worker !== undefined) {
      const { promise: gone, resolve } = Promise.withResolvers<void>()
      this.#closed = resolve
      worker.postMessage({ op: 'close', mount: this.#number } satisfies FetchMessage)
      const late = setTimeout(() => {
        this.#isStuck = true
        resolve()
      }, END_MS)
      await gone
      clearTimeout(late)
    }
    this.#client.forget(this.#number)
  }

  /** A call of a disk that is away holds the thread: it may write to the device yet. */
  get isStuck(): boolean {
    return this.#isStuck || this.#client.isStuck
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
    this.#late?.forget()
    this.#parts.posted?.release(this.#parts.asksAgain === true)
    setTimeout(() => this.#ended || this.#client.ended || this.#parts.onLost(), RECOVER_MS)
  }

  /** For `FetchClient` alone. */
  complain(error: string): void {
    this.#parts.log.error('the fetch thread failed', { error })
  }

  /** Whoever reads must not wait for ever for a thread whose files are gone, say, or whose disk is. */
  #read(message: ReadMessage): void {
    const { refuse, posted } = this.#parts
    if (refuse === undefined) return this.#post(message)
    if (this.#client.downMs >= Math.max(refuse.afterMs, COME_UP_MS)) {
      refuseRead(refuse.fd, message, ERRNO.EIO)
      posted?.clear(message.slot)
      this.#say('the fetch thread does not start', 'Look at the files of the program')
      this.#client.tryToStart()
    } else if (message.slot < 0 && this.#late?.areRefused === true) {
      // All there is room for waits already.
      refuseRead(refuse.fd, message, ERRNO.EIO)
    } else {
      this.#late?.watch()
      this.#post(message)
    }
  }

  #say(why: string, hint: string): void {
    if (performance.now() - this.#saidAt <= SAY_EVERY_MS) return
    this.#saidAt = performance.now()
    this.#parts.log.error(`reads are refused: ${why}`, { hint })
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
