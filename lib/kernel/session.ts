import { availableParallelism } from 'node:os'
import { EventCount, eventLoopFd, PollSet } from '../system/index.ts'
import { Channel, type ChannelParts } from './channel.ts'

/** Requests answered before the event loop (signals, timers) has its turn. */
const TURN_EVERY = 4096
/** Requests of one mount before it is another's turn. */
const BATCH = 256
const IDLE_MS = 1000
/** Milliseconds in which a reader who goes on asks again; a processor that went to sleep meanwhile takes longer than that to come back. */
const LOOK_MS = 0.05
/** Waits that are not looked into after looking in vain: doubled each time, up to the second. */
const LOOKS_SKIPPED = 2
const LOOKS_SKIPPED_MAX = 1024

/**
 * The session thread: takes requests from the devices of any number of mounts, answers what it knows at once and leaves the
 * rest to the fetch thread. It blocks on the devices and on the event loop together, so signals and messages are heard.
 */
export class Session {
  readonly #poll = new PollSet()
  readonly #loop = eventLoopFd()
  readonly #channels = new Map<number, Channel>()
  readonly #watched = new Map<number, () => void>()
  readonly #events = new EventCount()
  /** What the event loop had had after its last round. */
  #eventsSeen = -1
  #ended = false
  /** Waits until the next look, and how many follow where that is in vain too. */
  #toSkip = 0
  #skips = LOOKS_SKIPPED
  #isAlone: boolean | undefined
  /** The channel that was served last, until the next wait. */
  #last: Channel | undefined

  constructor() {
    this.#poll.add(this.#loop)
  }

  /** Serves one more device from now on. */
  add(parts: ChannelParts): void {
    this.#poll.add(parts.fd)
    const channel = new Channel(parts)
    this.#channels.set(parts.fd, channel)
    channel.recover()
  }

  /** Does not wait for this descriptor any more; call before it is closed. */
  remove(fd: number): void {
    if (this.#channels.delete(fd) || this.#watched.delete(fd)) this.#poll.remove(fd)
  }

  /** Calls back once when a descriptor is ready. */
  watch(fd: number, onReady: () => void): void {
    this.#poll.add(fd)
    this.#watched.set(fd, onReady)
  }

  /** Serves until `end`. */
  async run(): Promise<void> {
    let sinceTurn = 0
    // Whoever called goes on first.
    let waitMs = await this.#turn()
    try {
      while (!this.#ended) {
        const ready = this.#next(waitMs)
        if (ready === 0 && waitMs > 0) this.#idle(0)
        let isDue = ready <= 0
        for (let nth = 0; nth < ready; nth += 1) {
          const served = this.#serve(this.#poll.fdAt(nth))
          if (served < 0) isDue = true
          else sinceTurn += served
        }
        if (!isDue && sinceTurn < TURN_EVERY) continue
        sinceTurn = 0
        this.#idle(TURN_EVERY)
        waitMs = await this.#turn()
      }
    } finally {
      this.#poll.close()
    }
  }

  /**
   * As `PollSet.wait`. Who reads many small files asks again as soon as he has his answer: while that is so, a look for a moment saves
   * going to sleep and being woken, which is most of what a READ takes (docs/decisions/267-a-look-before-sleep.md).
   */
  #next(waitMs: number): number {
    const mayGoOn = this.#last?.hasReplied === true
    this.#last = undefined
    if (!mayGoOn) return this.#poll.wait(waitMs)
    // On one processor the reader would wait for whoever looks.
    this.#isAlone ??= availableParallelism() < 2
    if (this.#isAlone || this.#toSkip > 0) {
      this.#toSkip -= 1
      return this.#poll.wait(waitMs)
    }
    for (const until = performance.now() + LOOK_MS; performance.now() < until;) {
      const ready = this.#poll.wait(0)
      if (ready === 0) continue
      this.#skips = LOOKS_SKIPPED
      return ready
    }
    this.#toSkip = this.#skips
    this.#skips = Math.min(LOOKS_SKIPPED_MAX, this.#skips * 2)
    return this.#poll.wait(waitMs)
  }

  /** Ends `run` at its next turn. */
  end(): void {
    this.#ended = true
  }

  /**
   * The event loop goes round once. Gives how long to wait for it, milliseconds: 0 while it has more to do. What it begins to
   * listen to in one round it tells the kernel in the next, so a round without an event is the last.
   */
  async #turn(): Promise<number> {
    await new Promise(setImmediate)
    const events = this.#events.now()
    const isQuiet = events === this.#eventsSeen && !process.getActiveResourcesInfo().includes('Immediate')
    this.#eventsSeen = events
    return isQuiet ? IDLE_MS : 0
  }

  /** Requests answered, or -1 where it is the event loop's turn. */
  #serve(fd: number): number {
    const channel = this.#channels.get(fd)
    if (channel === undefined) return this.#call(fd)
    this.#last = channel
    const before = channel.served
    if (!channel.serve(BATCH)) {
      this.remove(fd)
      channel.parts.onEnd()
      return -1
    }
    // INIT, the first request, leaves work to the event loop.
    return before === 0 ? -1 : channel.served - before
  }

  #call(fd: number): number {
    const call = this.#watched.get(fd)
    if (call !== undefined) {
      this.remove(fd)
      call()
    }
    return -1
  }

  /** Whoever answered that many requests since the last time, and one at least, gives back what he does not need. */
  #idle(requests: number): void {
    for (const channel of this.#channels.values()) {
      const since = channel.served - channel.settled
      if (since === 0 || since < requests) continue
      channel.settled = channel.served
      channel.parts.onIdle()
    }
  }
}
