import { FlistError, type FlistErrorCode } from '../base/index.ts'

/** The cause of an error after which the store asked us to wait. */
export class RetryAfter extends Error {
  override readonly name = 'RetryAfter'
  readonly waitMs: number

  constructor(message: string, waitMs: number) {
    super(message)
    this.waitMs = waitMs
  }
}

/** The cause of an error with which a store that too many wait for is not even asked; it names no moment to try again. */
export class Crowded extends Error {
  override readonly name = 'Crowded'
}

export function storeError(code: FlistErrorCode, name: string, why: string, hint: string, cause?: unknown): FlistError {
  return new FlistError(
    code,
    `Cannot read from store "${name}": ${why}`,
    cause === undefined ? { hint } : { hint, cause },
  )
}

/** What a call throws whose signal aborted: the coded reason where there is one, else FLIST_INTERRUPTED or FLIST_TIMEOUT. */
export function abortError(signal: AbortSignal, name: string): FlistError {
  const reason: unknown = signal.reason
  if (reason instanceof FlistError) return reason
  if (reason instanceof Error && reason.name === 'TimeoutError') {
    return new FlistError('FLIST_TIMEOUT', `Cannot read from store "${name}": no answer in time`, {
      hint: TIMEOUT_HINT,
    })
  }
  return new FlistError('FLIST_INTERRUPTED', `Cannot read from store "${name}": nobody waits for it any more`)
}

export const TIMEOUT_HINT = 'Check the network and the store, or name another store: `flistfs mount --store URL`'
export const UNREACHABLE_HINT = TIMEOUT_HINT
export const DENIED_HINT =
  'Check the user name, password or token of the store: see `?password-file=`, `?token-file=` and the credentials file (docs/stores.md)'
export const MOVED_HINT = 'Write that address into the URL of the store: secrets and blocks are sent to no other'
export const PROTOCOL_HINT = 'Check that the URL names a store of blocks, and report what it answers to who runs it'
