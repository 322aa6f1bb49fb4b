import { FlistError, LIMITS, type Log } from '../base/index.ts'
import { Breaker, type BreakerOptions, type BreakerState } from './breaker.ts'
import { Gate } from './gate.ts'
import type { Haste } from './haste.ts'
import type { BlockSource } from './port.ts'
import { isSilence, retrying, type RetryOptions } from './retrying.ts'
import { abortError, Crowded, RetryAfter, storeError, UNREACHABLE_HINT } from './store-errors.ts'
import { untilAbort } from './wait.ts'

export interface SourceStats {
  readonly name: string
  /** Requests sent. */
  readonly requests: number
  /** Stored bytes received. */
  readonly bytes: number
  /** Requests that threw, and blocks that were corrupt. */
  readonly failures: number
  /** Answers "not here". */
  readonly missing: number
  readonly latencyMsSum: number
  readonly state: BreakerState
  /** Milliseconds it has been open; 0 where it is not. */
  readonly openForMs: number
  /** Why it failed last, without secrets, and when (ISO 8601); also after it healed. */
  readonly lastError: LastError | undefined
}

export interface LastError {
  readonly at: string
  readonly code: string
  readonly message: string
}

/** What a source that may have a block does at this moment. */
export interface SourceState extends SourceStats {
  /** Milliseconds that it is still asked last, or not at all, because it failed. */
  readonly coolMs: number
}

export interface MemberOptions {
  readonly inFlightMax: number
  readonly retries: RetryOptions
  readonly breaker: BreakerOptions
  readonly log: Log | undefined
}

/** A source with what a router keeps about it: how many may ask at a time, how it does, and its counters. */
export class Member {
  readonly name: string
  readonly origin: BlockSource
  readonly breaker: Breaker
  readonly #gate: Gate
  readonly #once: BlockSource
  readonly #patient: BlockSource
  readonly #log: Log | undefined
  readonly #counters = { requests: 0, bytes: 0, failures: 0, missing: 0, latencyMsSum: 0 }
  /** A request is under way that only asks whether it is well again. */
  isProbed = false
  lastError: LastError | undefined
  #lastAnswerAt = performance.now()

  constructor(origin: BlockSource, options: MemberOptions) {
    this.name = origin.name
    this.origin = origin
    this.breaker = new Breaker(options.breaker)
    this.#gate = new Gate(options.inFlightMax, origin.name)
    this.#log = options.log
    this.#once = {
      name: origin.name,
      get: (id, signal) => this.#guarded(id, false, signal),
      [Symbol.asyncDispose]: () => origin[Symbol.asyncDispose](),
    }
    this.#patient = retrying({ ...this.#once, get: (id, signal) => this.#guarded(id, true, signal) }, options.retries)
  }

  /** One request, or (`patient`: all others failed) the tries that remain after it, when a place is free. Throws as `BlockSource` does. */
  async get(id: Buffer, haste: Haste, patient: boolean, signal: AbortSignal): Promise<Buffer | undefined> {
    const { breaker } = this
    // Who cannot be asked soon must not be waited for.
    if (breaker.state === 'open' && !breaker.isProbing && breaker.restMs > 0 && !patient) throw this.#leftAlone()
    if (this.#isCrowded()) throw this.#crowded()
    const source = patient ? this.#patient : this.#once
    return await this.#gate.run(haste, () => source.get(id, signal), signal)
  }

  /** Milliseconds since it answered anybody. */
  get silentMs(): number {
    return performance.now() - this.#lastAnswerAt
  }

  /** Another gave the block while this one was silent. */
  overtaken(): void {
    const silentMs = Math.round(this.silentMs)
    if (this.breaker.overtaken())
      this.#log?.warn('a store is silent; others are asked first', { store: this.name, silentMs })
  }

  /** A block that came from here was wrong. */
  gaveWrong(error: FlistError): void {
    this.#counters.failures += 1
    this.#note(error)
    this.breaker.failed(false)
  }

  stats(): SourceStats {
    const { state, openForMs } = this.breaker
    const { name, lastError } = this
    return { name, ...this.#counters, state, openForMs: Math.round(openForMs), lastError }
  }

  async #guarded(id: Buffer, needed: boolean, signal: AbortSignal): Promise<Buffer | undefined> {
    const { breaker } = this
    if (signal.aborted) throw abortError(signal, this.name)
    while (!breaker.enter(needed)) {
      if (!breaker.isProbing) throw this.#leftAlone()
      await untilAbort(breaker.settled(), this.name, signal)
    }
    const counters = this.#counters
    const began = performance.now()
    counters.requests += 1
    try {
      const stored = await this.origin.get(id, signal)
      if (stored === undefined) counters.missing += 1
      else counters.bytes += stored.length
      this.#lastAnswerAt = performance.now()
      if (breaker.answered()) this.#log?.info('a store answers again', { store: this.name })
      return stored
    } catch (error) {
      this.#failed(error, began, signal)
      throw error
    } finally {
      counters.latencyMsSum += performance.now() - began
    }
  }

  #failed(error: unknown, began: number, signal: AbortSignal): void {
    const { breaker } = this
    if (signal.aborted || !(error instanceof FlistError) || error.code === 'FLIST_INTERRUPTED') {
      if (error instanceof FlistError && error.code !== 'FLIST_INTERRUPTED') this.#counters.failures += 1
      breaker.left()
      return
    }
    this.#counters.failures += 1
    this.#note(error)
    // It was silent before it answered another: what it could not do then says nothing of now.
    if (error.code === 'FLIST_TIMEOUT' && began < this.#lastAnswerAt) return breaker.left()
    if (!breaker.failed(isSilence(error))) return
    this.#log?.warn('a store is left alone until it answers a probe', { store: this.name, why: error.message })
    this.#gate.refuseAll(() => this.#leftAlone())
  }

  #note({ code, message }: FlistError): void {
    this.lastError = { at: new Date().toISOString(), code, message }
  }

  #leftAlone(): FlistError {
    const last = withoutName(this.lastError?.message ?? '', this.name)
    const why = `it is left alone after failures in a row, the last: ${last}`
    const cause = new RetryAfter(why, this.breaker.needRestMs)
    return storeError('FLIST_STORE_UNREACHABLE', this.name, why, UNREACHABLE_HINT, cause)
  }

  #isCrowded(): boolean {
    return this.#gate.waiting >= LIMITS.waitingPerStore && this.silentMs > LIMITS.storeStallMs
  }

  #crowded(): FlistError {
    const why = `${this.#gate.waiting} requests wait for it already, and it answers none`
    return storeError('FLIST_STORE_UNREACHABLE', this.name, why, UNREACHABLE_HINT, new Crowded(why))
  }
}

function withoutName(message: string, name: string): string {
  const start = `Cannot read from store "${name}": `
  return message.startsWith(start) ? message.slice(start.length) : message
}
