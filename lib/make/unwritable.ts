import { codeReason, FlistError, systemCode } from '../base/index.ts'

/** What is thrown where an archive cannot be written: FLIST_SYSTEM for what the system said, else, and of an interrupt, the error as it is. */
export function unwritable(archive: string, error: unknown): unknown {
  const code = systemCode(error)
  // That of a stream has a code too.
  const isInterrupt = error instanceof Error && error.name === 'AbortError'
  if (error instanceof FlistError || code === '' || isInterrupt) return error
  return new FlistError('FLIST_SYSTEM', `Cannot write the archive "${archive}": ${codeReason(code)}`, {
    hint:
      code === 'ENOSPC' ? 'Make room there, or name a file elsewhere' : 'Name a file in a folder that you may write to',
    cause: error,
  })
}
