import { LIMITS } from '../base/index.ts'

/** `ok`: answers. `failing`: failed lately. `open`: silent so often that it is left alone but for a probe now and then. */
export type BreakerState = 'ok' | 'failing' | 'open'

export interface BreakerOptions {
  /** Failures in a row after which it opens. */
  readonly failuresMax?: number
  /** Milliseconds a store that failed is asked last. */
  readonly restMs?: number
  /** Milliseconds it stays open at first, and at most: doubled by each probe that fails. */
  readonly pauseMs?: number
  readonly pauseMaxMs?: number
  /** Milliseconds it stays so for who has no other. */
  readonly needMs?: number
  /** Milliseconds of silence after which a probe has another beside it: it may have been sent before the store came back. */
  readonly probeStallMs?: number
  /** Milliseconds, never set back. */
  readonly now?: () => number
}

/**
 * What is known of one store's health. Who asks it says `enter` before and one of `answered`, `failed`, `left` after. Where it
 * is open nobody may enter, until a pause is over; then one may, and the others wait for what he finds (`settled`), but not for long.
 */
export class Breaker {
  readonly #failuresMax: number
  readonly #restMs: number
  readonly #pauseMs: number
  readonly #pauseMaxMs: number
  readonly #needMs: number
  readonly #probeStallMs: number
  readonly #now: () => number
  #state: BreakerState = 'ok'
  #silences = 0
  #pauses = 0
  /** Until then it is asked last (failing), or not at all (open). */
  #restUntil = 0
  /** When it failed last. */
  #restSince = 0
  #openSince = 0
  /** Under way, and when the last of them began. */
  #probes = 0
  #probeAt = 0
  #waiters: (() => void)[] = []

  constructor(options: BreakerOptions = {}) {
    this.#failuresMax = options.failuresMax ?? LIMITS.failuresToOpen
    this.#restMs = options.restMs ?? LIMITS.storeCoolDownMs
    this.#pauseMs = options.pauseMs ?? LIMITS.breakerPauseMs
    this.#pauseMaxMs = options.pauseMaxMs ?? LIMITS.breakerPauseMaxMs
    this.#needMs = options.needMs ?? LIMITS.breakerNeedMs
    this.#probeStallMs = options.probeStallMs ?? LIMITS.storeStallMs
    this.#now = options.now ?? performance.now.bind(performance)
  }

  get state(): BreakerState {
    return this.#state
  }

  get openForMs(): number {
    return this.#state === 'open' ? this.#now() - this.#openSince : 0
  }

  /** Milliseconds until it may be asked as others are; 0 where it may now. */
  get restMs(): number {
    return this.#state === 'ok' ? 0 : Math.max(0, this.#restUntil - this.#now())
  }

  /** The same where nobody else has what is wanted. */
  get needRestMs(): number {
    return Math.max(0, Math.min(this.restMs, this.#restSince + this.#needMs - this.#now()))
  }

  get isProbing(): boolean {
    return this.#probes > 0
  }

  /** Whether the caller may ask the store now. Where it is open the first caller after a pause is the probe. `needed`: he has no other. */
  enter(needed = false): boolean {
    if (this.#state !== 'open') return true
    if ((needed ? this.needRestMs : this.restMs) > 0 || this.#probeLeftMs > 0) return false
    this.#probes += 1
    this.#probeAt = this.#now()
    return true
  }

  /** Resolves when the probe that is under way has ended, or is silent for too long; `enter` says more. */
  settled(): Promise<void> {
    if (!this.isProbing) return Promise.resolve()
    return new Promise((resolve) => {
      const late = setTimeout(resolve, Math.ceil(this.#probeLeftMs) + 1)
      this.#waiters.push(() => {
        clearTimeout(late)
        resolve()
      })
    })
  }

  /** It gave a block, or said that it has none. True where that healed it. */
  answered(): boolean {
    const healed = this.#state !== 'ok'
    this.#state = 'ok'
    this.#silences = 0
    this.#pauses = 0
    this.#probes = 0
    this.#wake()
    return healed
  }

  /** It failed. `silent`: it did not answer at all, or that it cannot now. True where that opened it. */
  failed(silent: boolean): boolean {
    const wasOpen = this.#state === 'open'
    const wasProbe = wasOpen && this.isProbing
    this.#silences = silent ? this.#silences + 1 : 0
    if (this.#silences >= this.#failuresMax || (wasOpen && silent)) {
      // Requests that were under way when it opened say nothing new.
      if (!wasOpen || wasProbe) this.#pause()
      if (!wasOpen) this.#openSince = this.#now()
      this.#state = 'open'
    } else {
      this.#state = 'failing'
      this.#pauses = 0
      this.#restUntil = this.#now() + this.#restMs
    }
    this.#endProbe()
    return this.#state === 'open' && !wasOpen
  }

  /** Another was faster by far: this one is asked last for a while, until a probe tells more. True when this is news. */
  overtaken(): boolean {
    if (this.#state === 'open') return false
    const isNews = this.#state === 'ok'
    this.#state = 'failing'
    this.#restUntil = this.#now() + this.#restMs
    return isNews
  }

  /** Who entered went away without an answer. */
  left(): void {
    this.#endProbe()
  }

  #pause(): void {
    this.#restSince = this.#now()
    this.#restUntil = this.#restSince + Math.min(this.#pauseMaxMs, this.#pauseMs * 2 ** this.#pauses)
    this.#pauses += 1
  }

  /** Milliseconds that the last probe is still waited for. */
  get #probeLeftMs(): number {
    return this.#probes === 0 ? 0 : Math.max(0, this.#probeAt + this.#probeStallMs - this.#now())
  }

  #endProbe(): void {
    if (this.#probes === 0) return
    this.#probes -= 1
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiters.splice(0)) wake()
  }
}
