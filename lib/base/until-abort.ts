/**
 * `work`'s outcome, or what `why` says as soon as `signal` aborts; `work` then goes on unheard, and what comes of it goes to `late`.
 * For calls that hear of a signal late or never: a name that is looked up, say.
 */
export function untilAbort<T>(
  work: Promise<T>,
  signal: AbortSignal,
  why: () => Error,
  late: (result: T) => void = () => {},
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(why())
      work.then(late, () => {})
    }
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
