import { invariant } from '../base/index.ts'

/** Who can be asked for a block. */
export interface Askable {
  /** Milliseconds since it answered anybody. */
  readonly silentMs: number
  /** Another gave the block while this one was silent. */
  overtaken(): void
}

/**
 * Asks one after the other until one gives something. Where one has been silent to everybody for `stallMs`, the next is asked
 * beside it, and the first that gives wins; the others are told to stop. `refused` hears of each that ended with nothing.
 * `ask` throws only where it makes no sense to ask others. The one who is merely slow is not doubled: that would make a slow line
 * slower.
 */
export async function inTurn<M extends Askable, T>(
  members: readonly M[],
  ask: (member: M, signal: AbortSignal) => Promise<T | undefined>,
  refused: (member: M) => void,
  stallMs: number,
  signal: AbortSignal,
): Promise<T | undefined> {
  const [only] = members
  if (members.length === 1 && only !== undefined) {
    const found = await ask(only, signal)
    if (found === undefined) refused(only)
    return found
  }
  return new Promise((resolve, reject) => {
    const own = new AbortController()
    const stop = (): void => own.abort(signal.reason)
    const running = new Set<M>()
    let timer: NodeJS.Timeout | undefined
    let next = 0
    const end = (settle: () => void): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      settle()
      next = members.length
      if (running.size > 0) own.abort()
    }
    const begin = (): void => {
      const member = members[next]
      invariant(member, 'there is one more to ask')
      next += 1
      running.add(member)
      clearTimeout(timer)
      if (next < members.length) wait(member, stallMs)
      ask(member, own.signal).then(
        (found) => {
          running.delete(member)
          if (found === undefined) refused(member)
          else {
            for (const other of running) if (other.silentMs >= stallMs) other.overtaken()
            end(() => resolve(found))
          }
          if (found === undefined && next < members.length) begin()
          else if (running.size === 0) end(() => resolve(undefined))
        },
        (error: unknown) => {
          running.delete(member)
          end(() => reject(error instanceof Error ? error : new Error(String(error))))
        },
      )
    }
    const wait = (member: M, ms: number): void => {
      timer = setTimeout(() => {
        const leftMs = stallMs - member.silentMs
        if (leftMs > 0) wait(member, leftMs)
        else begin()
      }, ms)
    }
    signal.addEventListener('abort', stop, { once: true })
    begin()
  })
}
