import { invariant } from '../base/index.ts'
import type { Haste } from './haste.ts'
import { abortError } from './store-errors.ts'

interface Waiter {
  readonly enter: () => void
  readonly refuse: (error: Error) => void
}

/**
 * Lets so many through at a time, first come first served, but those somebody waits for before readahead. Readahead never
 * takes the last quarter: what is wanted now must not wait for a slow guess to end.
 */
export class Gate {
  readonly #max: number
  readonly #aheadMax: number
  readonly #name: string
  readonly #demand = new Set<Waiter>()
  readonly #ahead = new Set<Waiter>()
  #inFlight = 0

  constructor(max: number, name: string) {
    invariant(max >= 1, 'a gate lets at least one through')
    this.#max = max
    this.#aheadMax = Math.max(1, max - Math.ceil(max / 4))
    this.#name = name
  }

  /** How many wait for their turn. */
  get waiting(): number {
    return this.#demand.size + this.#ahead.size
  }

  /** Sends all away who wait for their turn. */
  refuseAll(error: () => Error): void {
    for (const queue of [this.#demand, this.#ahead]) {
      for (const waiter of queue) waiter.refuse(error())
      queue.clear()
    }
  }

  /** Runs `work` when its turn comes; throws FLIST_INTERRUPTED (or the signal's coded reason) where `signal` aborts before. */
  async run<T>(haste: Haste, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    if (this.#inFlight < (haste.isWanted ? this.#max : this.#aheadMax)) this.#inFlight += 1
    else await this.#turn(haste, signal)
    try {
      return await work()
    } finally {
      this.#inFlight -= 1
      this.#next()
    }
  }

  /** Whoever ends lets the next in, so its place is never free in between. */
  #next(): void {
    const from = this.#demand.size > 0 ? this.#demand : this.#ahead
    if (from === this.#ahead && this.#inFlight >= this.#aheadMax) return
    for (const waiter of from) {
      from.delete(waiter)
      this.#inFlight += 1
      waiter.enter()
      return
    }
  }

  /** Somebody waits for it now; the places that readahead may not take are open to it. */
  #raise(waiter: Waiter): void {
    if (!this.#ahead.delete(waiter)) return
    this.#demand.add(waiter)
    if (this.#inFlight < this.#max) this.#next()
  }

  #turn(haste: Haste, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(abortError(signal, this.#name))
        return
      }
      const raise = (): void => this.#raise(waiter)
      const leave = (): void => {
        signal.removeEventListener('abort', onAbort)
        haste.left(raise)
      }
      const onAbort = (): void => {
        this.#demand.delete(waiter)
        this.#ahead.delete(waiter)
        leave()
        reject(abortError(signal, this.#name))
      }
      const waiter: Waiter = {
        enter: () => {
          leave()
          resolve()
        },
        refuse: (error) => {
          leave()
          reject(error)
        },
      }
      if (haste.isWanted) this.#demand.add(waiter)
      else {
        this.#ahead.add(waiter)
        haste.waits(raise)
      }
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }
}
