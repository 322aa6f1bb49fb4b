import { closeSync, fstatSync, renameSync, statSync, writeSync } from 'node:fs'
import { FlistError, LIMITS, openAtEnd, systemReason } from '../base/index.ts'
import { describeReply, describeRequest, IN_HEADER } from '../wire/index.ts'

/** Words of the shared memory; the path's bytes follow. */
const ON = 0
/** Goes up with each file. */
const FILE = 1
const BYTES = 2
const ROTATING = 3
const PATH_BYTES = 4
const WORDS = 5
const PATH_BYTES_MAX = 4096

/**
 * The debug printer of the protocol: one line a request and one a reply, into a file that two threads share. Switched on and
 * off while requests come, from either thread. When the file is full it becomes `<file>.old`, and a new one is begun.
 */
export class Trace {
  readonly memory: SharedArrayBuffer
  readonly #words: Int32Array
  readonly #path: Buffer
  readonly #bytesMax: number
  #fd = -1
  /** The value of FILE when `#fd` was opened. */
  #opened = 0

  constructor(memory = new SharedArrayBuffer(4 * WORDS + PATH_BYTES_MAX), bytesMax: number = LIMITS.traceBytesMax) {
    this.memory = memory
    this.#words = new Int32Array(memory, 0, WORDS)
    this.#path = Buffer.from(memory, 4 * WORDS, PATH_BYTES_MAX)
    this.#bytesMax = bytesMax
  }

  /** Asked for each request: one word of memory. */
  get on(): boolean {
    return this.#words[ON] !== 0
  }

  /** The file that is written, or was last. */
  get path(): string {
    return this.#path.toString('utf8', 0, this.#words[PATH_BYTES])
  }

  /** Lines go to the end of this file from now on. Throws FLIST_SYSTEM where it cannot be written. */
  start(path: string): void {
    const bytes = Buffer.from(path)
    if (bytes.length > PATH_BYTES_MAX) throw new RangeError(`"${path}" is longer than ${PATH_BYTES_MAX} bytes`)
    let fd: number
    try {
      fd = openAtEnd(path, 0o600)
    } catch (cause) {
      throw new FlistError('FLIST_SYSTEM', `Cannot write a trace to "${path}": ${systemReason(cause)}`, {
        hint: 'Make its folder, or name another file',
        cause,
      })
    }
    this.stop()
    bytes.copy(this.#path)
    this.#words[PATH_BYTES] = bytes.length
    this.#words[BYTES] = fstatSync(fd).size
    this.#fd = fd
    this.#opened = Atomics.add(this.#words, FILE, 1) + 1
    Atomics.store(this.#words, ON, 1)
  }

  stop(): void {
    Atomics.store(this.#words, ON, 0)
    this.settle()
  }

  /** Lets go of the file where another thread has switched the trace off. */
  settle(): void {
    if (this.on || this.#fd < 0) return
    closeSync(this.#fd)
    this.#fd = -1
  }

  /** Before it is answered: a request that is never answered shows too. */
  request(frame: Buffer): void {
    this.#write(`> ${describeRequest(frame)}`)
  }

  reply(opcode: number, lo: number, hi: number, errno: number, bytes: number, us: number): void {
    this.#write(`< ${describeReply(opcode, lo, hi, errno, bytes, us)}`)
  }

  /** The reply to the request in `frame`. */
  replyTo(frame: Buffer, errno: number, bytes: number, us: number): void {
    const lo = frame.readUInt32LE(IN_HEADER.unique)
    this.reply(frame.readUInt32LE(IN_HEADER.opcode), lo, frame.readUInt32LE(IN_HEADER.unique + 4), errno, bytes, us)
  }

  #write(text: string): void {
    const line = `${new Date().toISOString()} ${text}\n`
    try {
      if (this.#opened !== Atomics.load(this.#words, FILE) || this.#fd < 0) this.#open()
      const bytes = writeSync(this.#fd, line)
      if (Atomics.add(this.#words, BYTES, bytes) + bytes >= this.#bytesMax) this.#rotate()
    } catch {
      // A full disk must not end the mount.
    }
  }

  #open(): void {
    if (this.#fd >= 0) closeSync(this.#fd)
    this.#fd = -1
    this.#opened = Atomics.load(this.#words, FILE)
    this.#fd = openAtEnd(this.path, 0o600)
  }

  /** One thread turns the file over; the other one sees by FILE that there is a new one. */
  #rotate(): void {
    if (Atomics.compareExchange(this.#words, ROTATING, 0, 1) !== 0) return
    try {
      // A pipe or a device does not grow, and is not ours to rename.
      if (!statSync(this.path).isFile()) Atomics.store(this.#words, BYTES, 0)
      else if (this.#words[BYTES] !== undefined && this.#words[BYTES] >= this.#bytesMax) {
        renameSync(this.path, `${this.path}.old`)
        closeSync(openAtEnd(this.path, 0o600))
        Atomics.store(this.#words, BYTES, 0)
        Atomics.add(this.#words, FILE, 1)
      }
    } finally {
      Atomics.store(this.#words, ROTATING, 0)
    }
  }
}
