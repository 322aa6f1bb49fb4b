import { FlistError, systemCode } from '../base/index.ts'

/** What is thrown where an archive cannot be written: FLIST_SYSTEM for what the system said, else the error as it is. */
export function unwritable(archive: string, error: unknown): unknown {
  const why = systemCode(error)
  if (error instanceof FlistError || why === '') return error
  return new FlistError('FLIST_SYSTEM', `Cannot write the archive "${archive}": ${why}`, { cause: error })
}
