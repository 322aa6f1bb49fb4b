import { ERRNO, errnoName } from '../base/index.ts'
import { errno, eventLoopFd, POLLERR, POLLHUP, PollSet, read, write } from '../system/index.ts'
import { describeRequest, IN_HEADER } from '../wire/index.ts'
import { Dispatcher, type DispatcherParts } from './dispatch.ts'

/** Requests answered before the event loop (signals, timers) has its turn. */
const TURN_EVERY = 4096
const IDLE_MS = 1000
const STRANGE_MAX = 3

export interface SessionParts extends DispatcherParts {
  readonly fd: number
  /** Called when nothing came for a second, and now and then while much comes. */
  readonly onIdle: () => void
}

/**
 * The session thread: takes requests from the device, answers what it knows at once and leaves the rest to the fetch
 * thread. It blocks in poll(2) on the device and on the event loop together, so signals and messages are heard.
 */
export class Session {
  readonly #parts: SessionParts
  readonly #dispatcher: Dispatcher
  readonly #poll: PollSet
  #ended = false
  /** Failures in a row that no device at work gives. */
  #strange = 0
  /** Requests since `onIdle` was called. */
  #sinceIdle = 0

  constructor(parts: SessionParts) {
    this.#parts = parts
    this.#dispatcher = new Dispatcher(parts)
    this.#poll = new PollSet([parts.fd, eventLoopFd()])
  }

  /** Serves until the file system is unmounted or the connection is aborted. */
  async run(): Promise<void> {
    const { fd, answers } = this.#parts
    const { bytes } = answers.frame
    // INIT, the first request, leaves work to the event loop.
    let sinceTurn = TURN_EVERY - 1
    while (!this.#ended) {
      const length = read(fd, bytes, bytes.length)
      if (length > 0) {
        this.#serve(length)
        sinceTurn += 1
        this.#sinceIdle += 1
        if (sinceTurn < TURN_EVERY) continue
      } else if (this.#failed(length)) {
        return
      } else if (!this.#wait()) {
        continue
      }
      sinceTurn = 0
      if (this.#sinceIdle >= TURN_EVERY) this.#idle()
      await new Promise(setImmediate)
    }
  }

  /** Ends `run` at its next turn. */
  end(): void {
    this.#ended = true
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
    this.#parts.log.warn('the connection ended', { errno: errnoName(number) })
    return true
  }

  /** Waits for a request. True when the event loop should run first. */
  #wait(): boolean {
    const ready = this.#poll.wait(IDLE_MS)
    if (ready === 0) this.#idle()
    if (ready <= 0) return true
    if (this.#poll.events(1) !== 0) return true
    // After an abort the device is only ever in error: the next read tells how.
    return (this.#poll.events(0) & (POLLERR | POLLHUP)) !== 0
  }

  #idle(): void {
    this.#sinceIdle = 0
    this.#parts.onIdle()
  }

  #serve(length: number): void {
    const { answers, counters } = this.#parts
    const started = performance.now()
    const bytes = this.#dispatcher.respond(length)
    if (bytes < 0) return
    if (bytes > 0) this.#reply(bytes)
    counters.observe(answers.frame.u32[IN_HEADER.opcode / 4] ?? 0, (performance.now() - started) * 1000, false)
  }

  #reply(bytes: number): void {
    const { answers, fd, log } = this.#parts
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
