import { FlistError, LIMITS } from '../base/index.ts'
import type { BlockSource } from './port.ts'
import { Crowded, RetryAfter } from './store-errors.ts'
import { backoffMs, pause } from './wait.ts'

/** The first pause after a failed try, and the longest; milliseconds. */
const BASE_MS = 100
const MAX_MS = 2000

export interface RetryOptions {
  /** Calls of `inner` for one `get`. */
  readonly tries?: number
  /** Milliseconds after which no further try begins. */
  readonly totalMs?: number
  readonly baseMs?: number
  readonly maxMs?: number
}

/** True where the store did not answer, or that it cannot now. */
export function isSilence(error: unknown): error is FlistError {
  return error instanceof FlistError && (error.code === 'FLIST_STORE_UNREACHABLE' || error.code === 'FLIST_TIMEOUT')
}

/** True where the same store may answer better a moment later. */
export function isTransient(error: unknown): boolean {
  return isSilence(error) && !(error.cause instanceof Crowded)
}

/** `inner`, asked again with growing, jittered pauses while it does not answer. A refusal or an answer is final. */
export function retrying(inner: BlockSource, options: RetryOptions = {}): BlockSource {
  const { tries = LIMITS.triesPerStore, totalMs = LIMITS.readTimeoutMs, baseMs = BASE_MS, maxMs = MAX_MS } = options
  return {
    name: inner.name,
    async get(id, signal) {
      const end = performance.now() + totalMs
      for (let attempt = 0; ; attempt += 1) {
        try {
          return await inner.get(id, signal)
        } catch (error) {
          if (signal.aborted || attempt + 1 >= tries || !isTransient(error)) throw error
          const waitMs = waitAfterMs(error, attempt, baseMs, maxMs)
          if (performance.now() + waitMs >= end) throw error
          await pause(waitMs, inner.name, signal)
        }
      }
    },
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
}

/** Milliseconds until the same store is asked again: what it asked for itself, or a pause that grows with each try. */
export function waitAfterMs(error: unknown, attempt: number, baseMs = BASE_MS, maxMs = MAX_MS): number {
  const asked = error instanceof FlistError && error.cause instanceof RetryAfter ? error.cause.waitMs : undefined
  return asked ?? backoffMs(attempt, baseMs, maxMs)
}
