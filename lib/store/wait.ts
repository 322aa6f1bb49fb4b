import { untilAbort as untilAborted } from '../base/index.ts'
import { abortError } from './store-errors.ts'

/** `untilAbort` for a store: throws FLIST_INTERRUPTED, or the signal's coded reason. */
export function untilAbort<T>(
  work: Promise<T>,
  name: string,
  signal: AbortSignal,
  late?: (result: T) => void,
): Promise<T> {
  return untilAborted(work, signal, () => abortError(signal, name), late)
}

/** Ends after `ms`, or throws as `untilAbort` does. */
export function pause(ms: number, name: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(abortError(signal, name))
      return
    }
    const onAbort = (): void => {
      clearTimeout(timer)
      reject(abortError(signal, name))
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

/** Full jitter: anything from 0 to a bound that doubles with each try (0, 1, ...). */
export function backoffMs(attempt: number, baseMs: number, maxMs: number): number {
  return Math.random() * Math.min(maxMs, baseMs * 2 ** attempt)
}
