import { FlistError } from '../base/index.ts'

/** What can be done about a damaged archive. */
export const DAMAGED_HINT = 'Fetch the archive again; if it stays so, whoever made it must make it anew'

/** `what` names the thing, `why` its state: `Cannot use "usr/bin": its parent is not a folder`. */
export function damaged(what: string, why: string, cause?: unknown): FlistError {
  const message = `Cannot use ${what}: ${why}`
  return new FlistError(
    'FLIST_ARCHIVE_DAMAGED',
    message,
    cause === undefined ? { hint: DAMAGED_HINT } : { hint: DAMAGED_HINT, cause },
  )
}

export function beyondLimit(what: string, why: string): FlistError {
  return new FlistError('FLIST_LIMIT', `Cannot use ${what}: ${why}`, {
    hint: 'Check that it is an archive you trust: flistfs reads none beyond this limit',
  })
}
