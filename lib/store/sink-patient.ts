import { FlistError, LIMITS } from '../base/index.ts'
import { isTransient, waitAfterMs } from './retrying.ts'
import type { BlockSink } from './sink.ts'
import { bounded } from './deadline.ts'
import { pause } from './wait.ts'

const HINT = 'Check the network and the store, then run again: only what is missing is sent'
const BASE_MS = 200
const MAX_MS = 5000

/**
 * `inner` with at most `most` calls at a time, each with a deadline, and tried again with growing pauses while the store does
 * not answer. Errors say that it was about writing.
 */
export function patient(inner: BlockSink, most: number): BlockSink {
  const waiting: (() => void)[] = []
  let busy = 0
  const run = async <T>(work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> => {
    while (busy >= most) await new Promise<void>((resolve) => waiting.push(resolve))
    busy += 1
    try {
      return await tried(inner.name, work, signal)
    } catch (error) {
      throw aboutWriting(error)
    } finally {
      busy -= 1
      waiting.shift()?.()
    }
  }
  return {
    name: inner.name,
    has: (id, signal) => run((own) => inner.has(id, own), signal),
    put: (id, stored, signal) => run((own) => inner.put(id, stored, own), signal),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
}

async function tried<T>(name: string, work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
  const end = performance.now() + LIMITS.writeTimeoutMs
  const tryMs = LIMITS.tryTimeoutMs
  const late = (): FlistError =>
    new FlistError('FLIST_TIMEOUT', `Cannot read from store "${name}": no answer in ${tryMs} ms`, { hint: HINT })
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await bounded(work, tryMs, late, name, signal)
    } catch (error) {
      if (signal.aborted || attempt + 1 >= LIMITS.triesPerWrite || !isTransient(error)) throw error
      const waitMs = waitAfterMs(error, attempt, BASE_MS, MAX_MS)
      if (performance.now() + waitMs >= end) throw error
      await pause(waitMs, name, signal)
    }
  }
}

/** The parts of a store that reading uses too speak of reading. */
function aboutWriting(error: unknown): unknown {
  if (!(error instanceof FlistError)) return error
  const message = error.message.replace(/^Cannot read from store/, 'Cannot write to store')
  const hint = isTransient(error) || error.code === 'FLIST_STORE_UNREACHABLE' ? HINT : error.hint
  return new FlistError(error.code, message, {
    ...(hint === undefined ? {} : { hint }),
    ...(error.cause === undefined ? {} : { cause: error.cause }),
  })
}
