import { parentPort } from 'node:worker_threads'
import { describeError, invariant, LIMITS } from '../base/index.ts'
import { type FetchMessage, type FetchReply, type MountMessage, type ReadReply } from '../kernel/index.ts'
import { DecodePool, forgetStored } from '../store/index.ts'
import { giveBackFreePages, giveBackMemory, keepFreedBlocks } from '../system/index.ts'
import { SegmentFiles } from '../vfs/index.ts'
import { CachePool } from './cache-pool.ts'
import { FetchMount, type FetchMountData, refuse } from './fetch-mount.ts'
import { GiveBack } from './give-back.ts'
import { MetricsDesk } from './metrics-desk.ts'

const SETTLE_EVERY_MS = 1000

/** A mount that the session thread told of. It is opened when somebody waits for it, or when nobody waits for another. */
class Slot {
  readonly data: FetchMountData
  readonly #open: (data: FetchMountData) => Promise<FetchMount>
  #opening: Promise<void> | undefined
  /** When opening it failed, `performance.now()`. */
  #failedAt = -Infinity
  #closed = false
  mount: FetchMount | undefined

  constructor(data: FetchMountData, open: (data: FetchMountData) => Promise<FetchMount>) {
    this.data = data
    this.#open = open
  }

  take(message: MountMessage): void {
    if (this.mount !== undefined) this.mount.take(message)
    else void this.#takeLater(message)
  }

  /** Never throws: the mount's log has what went wrong. One that failed is tried again, but not at each read. */
  async open(): Promise<void> {
    if (this.mount !== undefined || this.#closed || performance.now() - this.#failedAt < LIMITS.failureMemoryMs) return
    this.#opening ??= this.#open(this.data)
      .then(
        (mount) => void (this.mount = mount),
        () => void (this.#failedAt = performance.now()),
      )
      .finally(() => (this.#opening = undefined))
    await this.#opening
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#opening
    await this.mount?.close()
  }

  async #takeLater(message: MountMessage): Promise<void> {
    await this.open()
    if (this.mount !== undefined) this.mount.take(message)
    else if (message.op === 'read') refuse(this.data, message)
  }
}

/** The fetch thread of a server: opens caches and stores, and serves misses and questions of all its mounts. */
class FetchThread {
  readonly #slots = new Map<number, Slot>()
  readonly #caches = new CachePool()
  readonly #pool = new DecodePool()
  readonly #metrics = new MetricsDesk()
  #files: SegmentFiles | undefined
  readonly #tell: (reply: FetchReply) => void
  readonly #settling: NodeJS.Timeout
  /** Slots that nobody has waited for yet. */
  readonly #unopened: Slot[] = []
  readonly #giveBack = new GiveBack()

  constructor(tell: (reply: FetchReply) => void) {
    this.#tell = tell
    this.#settling = setInterval(() => this.#settle(), SETTLE_EVERY_MS)
  }

  take(message: FetchMessage): void {
    if (message.op === 'open') this.#add(message.mount, message.data as FetchMountData)
    else if (message.op === 'close') void this.#remove(message.mount)
    else if (message.op === 'used') void this.#caches.used(message.segments)
    else if (message.op !== 'end') this.#slots.get(message.mount)?.take(message)
  }

  async close(): Promise<void> {
    clearInterval(this.#settling)
    for (const mount of this.#slots.keys()) await this.#remove(mount)
    this.#files?.close()
    await this.#pool.close()
  }

  complain(error: Error): void {
    for (const { mount } of this.#slots.values())
      mount?.parts.log.error('a fault of ours', { error: describeError(error), stack: error.stack })
  }

  #add(mount: number, data: FetchMountData): void {
    this.#files ??= new SegmentFiles(data.cacheDir)
    const share = {
      caches: this.#caches,
      files: this.#files,
      pool: this.#pool,
      metrics: this.#metrics,
      mounts: () => this.#slots.size,
      onWhole: (row: number, path: string) => this.#tell({ op: 'whole', mount, row, path }),
      onReply: (reply: ReadReply) => this.#tell({ op: 'reply', mount, ...reply }),
    }
    const slot = new Slot(data, (words) => FetchMount.open(words, share))
    this.#slots.set(mount, slot)
    this.#unopened.push(slot)
    if (this.#unopened.length === 1) setImmediate(() => void this.#openNext())
  }

  /** One at a time, so that whoever waits for another is not behind them all. */
  async #openNext(): Promise<void> {
    for (let slot = this.#unopened[0]; slot !== undefined; slot = this.#unopened[0]) {
      await slot.open()
      await new Promise(setImmediate)
      this.#unopened.shift()
    }
  }

  async #remove(mount: number): Promise<void> {
    const slot = this.#slots.get(mount)
    this.#slots.delete(mount)
    try {
      await slot?.close()
    } finally {
      this.#tell({ op: 'closed', mount })
    }
  }

  /** What the work took is given back: buffers, pages of the indexes. */
  #settle(): void {
    let work = 0
    let waiting = 0
    for (const { mount } of this.#slots.values()) {
      work += mount?.work ?? 0
      waiting += mount?.parts.server.waiting ?? 0
    }
    const given = this.#giveBack.look(work, waiting)
    if (given === 'all') {
      forgetStored()
      giveBackMemory()
    } else if (given === 'pages') giveBackFreePages()
    const isDone = this.#giveBack.isQuiet || given !== 'nothing'
    if (isDone) for (const { mount } of this.#slots.values()) mount?.parts.index.release()
    this.#files?.releaseUnlinked()
    void this.#caches.releaseUnlinked()
  }
}

function main(): void {
  const port = parentPort
  invariant(port, 'fetch-thread runs as a worker')
  keepFreedBlocks()
  const thread = new FetchThread((reply) => port.postMessage(reply))
  process.on('uncaughtException', (error) => thread.complain(error))
  port.on('message', (message: FetchMessage) => {
    thread.take(message)
    if (message.op !== 'end') return
    void thread.close().finally(() => {
      port.postMessage({ op: 'over' } satisfies FetchReply)
      port.close()
    })
  })
  port.postMessage({ op: 'up' } satisfies FetchReply)
}

main()
