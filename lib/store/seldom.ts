import { LIMITS, type Log } from '../base/index.ts'

interface Said {
  until: number
  /** Times it happened since it was said. */
  more: number
}

/** Warns once of what happens over and over: when a store is away every block of every read fails, and says so. */
export class Seldom {
  readonly #log: Log | undefined
  readonly #now: () => number
  readonly #said = new Map<string, Said>()

  /** `now`: milliseconds, never set back. */
  constructor(log: Log | undefined, now: () => number = performance.now.bind(performance)) {
    this.#log = log
    this.#now = now
  }

  /** A line, unless one of the same message and `kind` was written lately; the next one tells how many were not (`more`). */
  warn(message: string, kind: string, fields: Parameters<Log['warn']>[1] & object): void {
    if (this.#log === undefined) return
    const key = `${message} ${kind}`
    const said = this.#said.get(key)
    const now = this.#now()
    if (said !== undefined && now < said.until) {
      said.more += 1
      return
    }
    if (this.#said.size >= LIMITS.readErrorsMax) this.#said.clear()
    this.#said.set(key, { until: now + LIMITS.sameWarningMs, more: 0 })
    this.#log.warn(message, said === undefined || said.more === 0 ? fields : { ...fields, more: said.more })
  }
}
