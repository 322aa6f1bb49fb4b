import type { BlockSource } from './port.ts'
import { abortError, storeError, TIMEOUT_HINT } from './store-errors.ts'

/** `inner`, but each call ends within `timeoutMs` with FLIST_TIMEOUT, also where `inner` does not hear its signal. */
export function withDeadline(inner: BlockSource, timeoutMs: number): BlockSource {
  return {
    name: inner.name,
    get: (id, signal) => {
      const late = (): Error => storeError('FLIST_TIMEOUT', inner.name, `no answer in ${timeoutMs} ms`, TIMEOUT_HINT)
      return bounded((own) => inner.get(id, own), timeoutMs, late, inner.name, signal)
    },
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
}

/**
 * Runs `work` under a signal of its own, which aborts after `timeoutMs` with `late()` or when `signal` does. One timer and
 * one listener: AbortSignal.any and AbortSignal.timeout cost several times as much, and a small block is 40 µs in all.
 */
export function bounded<T>(
  work: (signal: AbortSignal) => Promise<T>,
  timeoutMs: number,
  late: () => Error,
  name: string,
  signal: AbortSignal,
): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortError(signal, name))
      return
    }
    const own = new AbortController()
    const stop = (error: Error): void => {
      finish()
      reject(error)
      own.abort(error)
    }
    const onAbort = (): void => stop(abortError(signal, name))
    const timer = setTimeout(() => stop(late()), timeoutMs)
    signal.addEventListener('abort', onAbort, { once: true })
    function finish(): void {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    work(own.signal).then(resolve, reject).finally(finish)
  })
}
