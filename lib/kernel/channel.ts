import { ERRNO, errnoName } from '../base/index.ts'
import { errno, read, write } from '../system/index.ts'
import { describeRequest, IN_HEADER } from '../wire/index.ts'
import { Dispatcher, type DispatcherParts } from './dispatch.ts'
import type { PendingRequests } from './pending.ts'

const STRANGE_MAX = 3

export interface ChannelParts extends DispatcherParts {
  /** The device. */
  readonly fd: number
  /** Where the next server finds what this one has taken; `answers.frame` is its frame then. */
  readonly pending?: PendingRequests | undefined
  /** Nothing came for a second, or much came. */
  readonly onIdle: () => void
  /** Called once: the file system is unmounted, or its connection was aborted. The device is not waited for any more. */
  readonly onEnd: () => void
}

/** One mount's device: takes requests from it and answers what is known at once. */
export class Channel {
  readonly parts: ChannelParts
  readonly #dispatcher: Dispatcher
  /** Failures in a row that no device at work gives. */
  #strange = 0
  /** Requests so far. */
  served = 0
  /** The last one has its reply: whoever asked may ask again at once. */
  hasReplied = false
  /** `served` when `onIdle` was called last. */
  settled = 0

  constructor(parts: ChannelParts) {
    this.parts = parts
    this.#dispatcher = new Dispatcher(parts)
  }

  /** Answers what waits, at most so many requests. False when the device is gone. */
  serve(most: number): boolean {
    const { fd, answers } = this.parts
    const { bytes, u32 } = answers.frame
    for (let count = 0; count < most; count += 1) {
      const length = read(fd, bytes, bytes.length)
      if (length <= 0) return !this.#failed(length)
      this.#answer(length)
      // Nobody has to do it again.
      u32[0] = 0
      this.served += 1
    }
    return true
  }

  /** Answers what a server that is dead had taken. Call before `serve`. */
  recover(): void {
    const length = this.parts.pending?.frame.u32[0] ?? 0
    if (length >= IN_HEADER.size && length <= this.parts.answers.frame.bytes.length) this.#answer(length)
  }

  /** True when the device is gone: ENODEV after an unmount, ECONNABORTED or EPERM after an abort. */
  #failed(length: number): boolean {
    if (length === 0) return true
    const number = errno()
    if (number === ERRNO.EAGAIN || number === ERRNO.EINTR || number === ERRNO.ENOENT) {
      this.#strange = 0
      return false
    }
    if (number === ERRNO.ENODEV) return true
    // The runtime may have made a call of its own in between: a mount does not end for an errno that does not come again.
    this.#strange += 1
    if (this.#strange < STRANGE_MAX) return false
    this.parts.log.warn('the connection ended', { errno: errnoName(number) })
    return true
  }

  #answer(length: number): void {
    const { answers, counters } = this.parts
    const started = performance.now()
    const bytes = this.#dispatcher.respond(length)
    this.hasReplied = bytes > 0
    if (bytes < 0) return
    if (bytes > 0) this.#reply(bytes)
    counters.observe(answers.frame.u32[IN_HEADER.opcode / 4] ?? 0, (performance.now() - started) * 1000, false)
  }

  #reply(bytes: number): void {
    const { answers, fd, log } = this.parts
    if (write(fd, answers.reply.bytes, bytes) === bytes) return
    const number = errno()
    // ENOENT: the reader was killed meanwhile.
    if (number !== ERRNO.ENOENT && number !== ERRNO.ENODEV) {
      log.error('the kernel refused a reply', {
        errno: errnoName(number),
        request: describeRequest(answers.frame.bytes.subarray(0, IN_HEADER.size)),
      })
    }
  }
}
