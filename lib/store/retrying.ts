import { FlistError, LIMITS } from '../base/index.ts'
import type { BlockSource } from './port.ts'
import { RetryAfter } from './store-errors.ts'
import { backoffMs, pause } from './wait.ts'

export interface RetryOptions {
  /** Calls of `inner` for one `get`. */
  readonly tries?: number
  /** Milliseconds after which no further try begins. */
  readonly totalMs?: number
  readonly baseMs?: number
  readonly maxMs?: number
}

/** True where the same store may answer better a moment later. */
export function isTransient(error: unknown): boolean {
  return error instanceof FlistError && (error.code === 'FLIST_STORE_UNREACHABLE' || error.code === 'FLIST_TIMEOUT')
}

/** `inner`, asked again with growing, jittered pauses while it does not answer. A refusal or an answer is final. */
export function retrying(inner: BlockSource, options: RetryOptions = {}): BlockSource {
  const { tries = LIMITS.triesPerStore, totalMs = LIMITS.readTimeoutMs, baseMs = 100, maxMs = 2000 } = options
  return {
    name: inner.name,
    async get(id, signal) {
      const end = Date.now() + totalMs
      for (let attempt = 0; ; attempt += 1) {
        try {
          return await inner.get(id, signal)
        } catch (error) {
          if (signal.aborted || attempt + 1 >= tries || !isTransient(error)) throw error
          const waitMs = askedWaitMs(error) ?? backoffMs(attempt, baseMs, maxMs)
          if (Date.now() + waitMs >= end) throw error
          await pause(waitMs, inner.name, signal)
        }
      }
    },
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
}

/** What the store itself asked for, where it did. */
function askedWaitMs(error: unknown): number | undefined {
  return error instanceof FlistError && error.cause instanceof RetryAfter ? error.cause.waitMs : undefined
}
