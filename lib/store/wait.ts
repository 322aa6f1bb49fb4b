import { abortError } from './store-errors.ts'

/** `work`'s outcome, or FLIST_INTERRUPTED (or the signal's coded reason) as soon as `signal` aborts; `work` then goes on unheard. */
export function untilAbort<T>(work: Promise<T>, name: string, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      work.catch(() => {})
      reject(abortError(signal, name))
      return
    }
    const onAbort = (): void => reject(abortError(signal, name))
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
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
