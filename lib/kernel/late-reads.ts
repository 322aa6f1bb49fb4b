import { displayDuration, ERRNO, type Log } from '../base/index.ts'
import { refuseRead } from './fetch-server.ts'
import type { PostedReads } from './posted-reads.ts'

/** Milliseconds that a read gets beyond its own deadline, which the thread keeps. */
const GRACE_MS = 10_000
/** Milliseconds that a read gets where others were refused, and the thread has not come to them yet. */
const LATE_MS = 2_000
/** Milliseconds between two looks at reads that wait. */
const TICK_MS = 1_000

export interface LateReadsParts {
  readonly posted: PostedReads
  /** The device. */
  readonly fd: number
  /** Milliseconds of a read in all, as the thread keeps them. */
  readonly timeoutMs: number
  readonly cacheDir: string
  readonly log: Log
  readonly say: (why: string, hint: string) => void
}

/** Refuses reads that the fetch thread does not come to: a call of a disk that is away holds it (docs/decisions/269). */
export class LateReads {
  readonly #parts: LateReadsParts
  /** Goes while reads wait. */
  #ticking: NodeJS.Timeout | undefined
  /** Reads that were refused and that the thread, which hangs, has not come to. */
  #refused = 0
  /** Goes on with each look, not with time: a process that was stopped has not been waiting. */
  now = 0

  constructor(parts: LateReadsParts) {
    this.#parts = parts
  }

  /** The thread hangs, as far as is known. */
  get areRefused(): boolean {
    return this.#refused > 0
  }

  /** Call with each read that is posted. */
  watch(): void {
    this.#ticking ??= setInterval(() => this.#look(), TICK_MS)
  }

  /** The thread has ended: another one hangs in nothing. */
  forget(): void {
    this.#refused = 0
  }

  stop(): void {
    clearInterval(this.#ticking)
    this.#ticking = undefined
  }

  /** What the thread, should it come to them, answers later is refused by the kernel, which harms nobody. */
  #look(): void {
    const { posted, fd, timeoutMs, cacheDir, log, say } = this.#parts
    this.now += 1
    const { asked, refused } = posted.count()
    // It goes on.
    if (refused < this.#refused) this.#refused = 0
    const patienceMs = this.areRefused ? LATE_MS : timeoutMs + GRACE_MS
    const late = asked === 0 ? [] : posted.left(this.now - Math.ceil(patienceMs / TICK_MS) - 1)
    for (const read of late) if (posted.refuse(read.slot)) refuseRead(fd, read, ERRNO.EIO)
    if (late.length > 0) {
      // The log may lie on the same disk.
      log.beCareful()
      this.#refused = refused + late.length
      const waited = `the fetch thread has not answered for ${displayDuration(patienceMs / 1000)}`
      say(waited, `Look at the disk of the cache folder "${cacheDir}", and at those of stores that are folders`)
    } else if (asked === 0) this.stop()
  }
}
