import { ERRNO } from '../../base/index.ts'
import type { ReadReply } from '../fetch-messages.ts'

interface LateRead {
  readonly out: Buffer
  readonly done: (result: number) => void
  readonly deadline: NodeJS.Timeout | undefined
}

/** Reads that the fetch thread was asked for, until it answers or their time is up. */
export class LateReads {
  readonly #waiting = new Map<number, LateRead>()
  readonly #deadlineMs: number | undefined
  #last = 0

  /** `deadlineMs` is for the case that the thread is gone: its own deadline is shorter. Undefined: none. */
  constructor(deadlineMs: number | undefined) {
    this.#deadlineMs = deadlineMs
  }

  /** Returns the read's number. `done` is called once, with the bytes copied to `out` or a negative errno. */
  begin(out: Buffer, done: (result: number) => void): number {
    this.#last += 1
    const nth = this.#last
    const ms = this.#deadlineMs
    const deadline = ms === undefined ? undefined : setTimeout(() => this.#end(nth)?.done(-ERRNO.EIO), ms)
    this.#waiting.set(nth, { out, done, deadline })
    return nth
  }

  reply({ lo, errno, content }: ReadReply): void {
    const read = this.#end(lo)
    if (read === undefined) return
    if (errno === 0) read.out.set(content)
    read.done(errno === 0 ? content.length : -errno)
  }

  /** The mount is gone: nobody waits for what comes. */
  failAll(): void {
    for (const nth of this.#waiting.keys()) this.#end(nth)?.done(-ERRNO.EIO)
  }

  #end(nth: number): LateRead | undefined {
    const read = this.#waiting.get(nth)
    this.#waiting.delete(nth)
    clearTimeout(read?.deadline)
    return read
  }
}
