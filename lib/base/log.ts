import { closeSync, constants, openSync, write, writeSync } from 'node:fs'

export const LOG_LEVELS = { error: 0, warn: 1, info: 2, debug: 3 } as const
export type LogLevel = keyof typeof LOG_LEVELS

const LEVEL_NAMES = Object.keys(LOG_LEVELS) as LogLevel[]

/** Lines that wait for a disk; more are lost. */
const QUEUE_MAX = 100

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>

/** Writes one line of `key=value` per event, in one write, so that several threads and processes may share the file. */
export class Log {
  #fd: number
  /** Holds the level: another thread's log made with it follows this one's changes, and the other way round. */
  readonly memory: SharedArrayBuffer
  readonly #level: Int32Array
  #isCareful = false
  readonly #queue: string[] = []
  /** A write is under way, which nobody waits for. */
  #isWriting = false
  #onWritten: (() => void) | undefined

  constructor(fd: number, level: LogLevel | SharedArrayBuffer = 'info') {
    this.#fd = fd
    this.memory = typeof level === 'string' ? new SharedArrayBuffer(4) : level
    this.#level = new Int32Array(this.memory)
    if (typeof level === 'string') this.level = level
  }

  get level(): LogLevel {
    return LEVEL_NAMES[this.#level[0] ?? 0] ?? 'info'
  }

  set level(level: LogLevel) {
    this.#level[0] = LOG_LEVELS[level]
  }

  /** Nothing is written any more: another file may get the descriptor's number. Closes it unless it is a standard one. */
  close(): void {
    // Whoever writes beside us has its number yet.
    if (this.#fd > 2 && !this.#isWriting) closeSync(this.#fd)
    this.#fd = -1
  }

  /** From now on nobody waits for a line to be written: a disk hangs, and it may be this one's too. */
  beCareful(): void {
    this.#isCareful = true
  }

  /** Resolves when what was said since `beCareful` is written, or after so many milliseconds. */
  async settle(timeoutMs: number): Promise<void> {
    if (!this.#isWriting) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#onWritten = resolve
    const timer = setTimeout(resolve, timeoutMs)
    await promise
    clearTimeout(timer)
  }

  /** A write does not end: the process can leave by `exitNow` only. */
  get isStuck(): boolean {
    return this.#isWriting
  }

  error(message: string, fields?: LogFields): void {
    this.#write('error', message, fields)
  }

  warn(message: string, fields?: LogFields): void {
    this.#write('warn', message, fields)
  }

  info(message: string, fields?: LogFields): void {
    this.#write('info', message, fields)
  }

  debug(message: string, fields?: LogFields): void {
    this.#write('debug', message, fields)
  }

  #write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (this.#fd < 0 || LOG_LEVELS[level] > (this.#level[0] ?? 0)) return
    let line = `${new Date().toISOString()} ${level} ${message}`
    for (const [key, value] of Object.entries(fields)) {
      if (value !== undefined) line += ` ${key}=${typeof value === 'string' ? JSON.stringify(value) : value}`
    }
    if (this.#isCareful) {
      if (this.#queue.length < QUEUE_MAX) this.#queue.push(`${line}\n`)
      if (!this.#isWriting) this.#writeNext(this.#fd)
      return
    }
    try {
      writeSync(this.#fd, `${line}\n`)
    } catch {
      // A full disk or a closed pipe must not end the mount.
    }
  }

  #writeNext(fd: number): void {
    const line = this.#queue.shift()
    this.#isWriting = line !== undefined
    if (line === undefined) {
      this.#onWritten?.()
      if (this.#fd < 0 && fd > 2) closeSync(fd)
      return
    }
    write(fd, line, () => this.#writeNext(fd))
  }
}

const AT_END = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NONBLOCK

/** A file to write to its end. A pipe that nobody reads is ENXIO, and a full one EAGAIN: who serves must not wait for a reader. */
export function openAtEnd(path: string, mode: number): number {
  return openSync(path, AT_END, mode)
}

export const SILENT = new Log(2, 'error')
