import { writevSync } from 'node:fs'
import { describeError, ERRNO, FlistError, LIMITS, type Log, systemCode } from '../base/index.ts'
import type { Fetcher } from '../vfs/index.ts'
import { OPCODE, OUT_HEADER } from '../wire/index.ts'
import type { Counters } from './counters.ts'
import type { MountMessage, ReadMessage, ReadReply } from './fetch-messages.ts'
import type { PostedReads } from './posted-reads.ts'
import type { Trace } from './trace.ts'
import { type Wait, WaitLog } from './wait-log.ts'

export interface FetchServerParts {
  /** The device; undefined: the session answers the kernel (lib/kernel/fuse-native). */
  readonly fd: number | undefined
  readonly fetcher: Fetcher
  readonly counters: Counters
  readonly log: Log
  readonly trace?: Trace | undefined
  /** Where reads are noted until they are answered; undefined: nowhere. */
  readonly posted?: PostedReads | undefined
  /** The file at `path` holds the row's content, whole. */
  readonly onWhole: (row: number, path: string) => void
  /** What a read came to, where there is no device. */
  readonly onReply: (reply: ReadReply) => void
}

/** The fetch thread's end for one mount: reads what the session could not answer, and answers the kernel itself. */
export class FetchServer {
  readonly #parts: FetchServerParts
  readonly #waiting = new Map<string, AbortController>()
  /** When each complaint was logged: the kernel asks up to three times for what fails. */
  readonly #logged = new Map<string, number>()
  /** For who asks why a file is slow. */
  readonly waits = new WaitLog()

  constructor(parts: FetchServerParts) {
    this.#parts = parts
  }

  get waiting(): number {
    return this.#waiting.size
  }

  take(message: MountMessage): void {
    const { fetcher } = this.#parts
    if (message.op === 'read') void this.#read(message)
    else if (message.op === 'reached') fetcher.advanceTo(message.block)
    else if (message.op === 'opened') void this.#announce(message.row)
    else this.#waiting.get(`${message.hi}.${message.lo}`)?.abort()
  }

  /** Tells the session of a large file that lies whole in one piece. */
  async #announce(row: number): Promise<void> {
    const path = await this.#parts.fetcher.wholeFile(row)
    if (path !== undefined) this.#parts.onWhole(row, path)
  }

  /** For `--passthrough`: what earlier mounts left whole in the cache. */
  async announceAll(): Promise<void> {
    for (const row of this.#parts.fetcher.largeFiles()) await this.#announce(row)
  }

  async #read(message: ReadMessage): Promise<void> {
    const { fetcher, counters } = this.#parts
    const wait = this.waits.begin(message.row, message.offset, message.bytes)
    const key = `${message.hi}.${message.lo}`
    const stop = new AbortController()
    this.#waiting.set(key, stop)
    try {
      const pieces = await fetcher.read(message.row, message.offset, message.bytes, stop.signal)
      const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0)
      counters.add('fetchedBytesRead', bytes)
      counters.add('readsFetched', 1)
      this.#reply(message, 0, pieces, bytes, wait)
      fetcher.release(pieces)
    } catch (error) {
      this.#reply(message, this.#errnoOf(error, stop.signal.aborted, message.row), [], 0, wait)
    } finally {
      this.#parts.posted?.clear(message.slot)
      this.#waiting.delete(key)
      counters.observe(OPCODE.read, this.waits.end(wait) * 1000, true)
    }
  }

  #errnoOf(error: unknown, interrupted: boolean, row: number): number {
    if (interrupted) return ERRNO.EINTR
    if (error instanceof FlistError) this.waits.failed(row, error.code, error.message)
    else this.waits.failed(row, 'FLIST_SYSTEM', describeError(error))
    this.#parts.counters.add('errors', 1)
    this.#complain(error)
    return error instanceof FlistError ? error.errno : ERRNO.EIO
  }

  #complain(error: unknown): void {
    const { log } = this.#parts
    const text = describeError(error)
    const now = performance.now()
    const last = this.#logged.get(text)
    if (last !== undefined && now - last < LIMITS.failureMemoryMs) return
    if (this.#logged.size > 1000) this.#logged.clear()
    this.#logged.set(text, now)
    if (error instanceof FlistError) {
      log.error(error.message, { code: error.code, ...(error.hint === undefined ? {} : { hint: error.hint }) })
    } else {
      log.error('a read failed', {
        error: text,
        code: systemCode(error),
        stack: error instanceof Error ? error.stack : '',
      })
    }
  }

  #reply(message: ReadMessage, errno: number, pieces: Buffer[], bytes: number, wait: Wait): void {
    const { trace } = this.#parts
    if (trace !== undefined && trace.on) {
      const us = (performance.now() - wait.started) * 1000
      trace.reply(OPCODE.read, message.lo, message.hi, errno, bytes, us)
    }
    if (this.#parts.fd === undefined) return this.#parts.onReply(handOver(message, errno, pieces, bytes))
    const header = replyHeader(message, errno, bytes)
    try {
      writevSync(this.#parts.fd, [header, ...pieces])
    } catch (error) {
      // ENOENT: the reader was killed meanwhile. ENODEV, ENOTCONN: unmounted.
      const code = systemCode(error)
      if (code !== 'ENOENT' && code !== 'ENODEV' && code !== 'ENOTCONN') {
        this.#parts.log.error('the kernel refused a reply', { error: describeError(error), bytes })
      }
    }
  }
}

/** A copy goes: the pieces' memory is used again. */
function handOver({ lo, hi }: ReadMessage, errno: number, pieces: Buffer[], bytes: number): ReadReply {
  const content = new Uint8Array(bytes)
  let at = 0
  for (const piece of pieces) {
    content.set(piece, at)
    at += piece.length
  }
  return { lo, hi, errno, content }
}

/** Answers a read that cannot be served. */
export function refuseRead(fd: number, message: Pick<ReadMessage, 'lo' | 'hi'>, errno: number): void {
  try {
    writevSync(fd, [replyHeader(message, errno, 0)])
  } catch {
    // Unmounted, or the reader was killed.
  }
}

function replyHeader(message: Pick<ReadMessage, 'lo' | 'hi'>, errno: number, bytes: number): Buffer {
  const header = Buffer.allocUnsafe(OUT_HEADER.size)
  header.writeUInt32LE(OUT_HEADER.size + bytes, OUT_HEADER.len)
  header.writeInt32LE(-errno, OUT_HEADER.error)
  header.writeUInt32LE(message.lo, OUT_HEADER.unique)
  header.writeUInt32LE(message.hi, OUT_HEADER.unique + 4)
  return header
}
