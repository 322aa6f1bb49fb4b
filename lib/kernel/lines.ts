import { connect, type Socket } from 'node:net'
import { describeError, FlistError, systemCode } from '../base/index.ts'
import { withSocketPath } from './socket-path.ts'

/** Bytes of one message: a mount's words, with the URLs of its stores. */
const MESSAGE_BYTES_MAX = 4 * 1024 * 1024

/** Messages over a stream: one JSON value a line, one answer for each question. */
export class Lines {
  readonly #socket: Socket
  readonly #leaving = new AbortController()
  readonly #arrived: string[] = []
  #text = ''
  #isClosed = false
  #wake: (() => void) | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('utf8')
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      if (!this.#isClosed) this.#leaving.abort()
      this.#wake?.()
    })
    socket.on('data', (chunk: string) => this.#take(chunk))
  }

  /** Undefined where nobody listens at this path. Throws FLIST_SYSTEM for what else goes wrong. */
  static async connect(path: string): Promise<Lines | undefined> {
    const socket = withSocketPath(path, connect)
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('connect', () => resolve())
        socket.once('error', reject)
      })
      return new Lines(socket)
    } catch (error) {
      socket.destroy()
      if (['ENOENT', 'ECONNREFUSED', 'ECONNRESET'].includes(systemCode(error))) return undefined
      throw new FlistError('FLIST_SYSTEM', `Cannot ask "${path}": ${describeError(error)}`, { cause: error })
    }
  }

  /** Aborted when the other end has left; not where we did. */
  get left(): AbortSignal {
    return this.#leaving.signal
  }

  send(message: unknown): void {
    if (!this.#socket.destroyed) this.#socket.write(`${JSON.stringify(message)}\n`)
  }

  /** The next message; undefined where the other end left, or nothing came in time. Throws the reason of `signal`. */
  async receive(timeoutMs: number, signal: AbortSignal): Promise<unknown> {
    const timer = setTimeout(() => this.close(), timeoutMs)
    const stop = (): void => this.close()
    signal.addEventListener('abort', stop)
    try {
      while (this.#arrived.length === 0 && !this.left.aborted && !this.#socket.destroyed) {
        await new Promise<void>((resolve) => (this.#wake = resolve))
      }
      signal.throwIfAborted()
      const line = this.#arrived.shift()
      return line === undefined ? undefined : parse(line)
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
    }
  }

  /** What was sent still goes out. */
  close(): void {
    this.#isClosed = true
    this.#socket.end()
    this.#socket.destroySoon()
    this.#wake?.()
  }

  #take(chunk: string): void {
    this.#text += chunk
    const lines = this.#text.split('\n')
    this.#text = lines.pop() ?? ''
    if (this.#text.length > MESSAGE_BYTES_MAX) return void this.#socket.destroy()
    this.#arrived.push(...lines)
    if (lines.length > 0) this.#wake?.()
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
