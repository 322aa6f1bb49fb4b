import { FlistError } from '../base/index.ts'
import type { ResolvedArchive } from '../store/index.ts'

/** What is wrong with an archive that was fetched is said of its name: its file in the cache nobody has asked for. */
export function aboutFetched(error: unknown, { path, name, url }: ResolvedArchive): unknown {
  if (url === undefined || !(error instanceof FlistError) || !error.message.includes(`"${path}"`)) return error
  const message = error.message.replace(`"${path}"`, `"${name}"`)
  const isPage = error.code === 'FLIST_FORMAT_UNKNOWN'
  const hint = isPage ? 'Look at what the server sends: it may be a web page in the place of the archive' : error.hint
  return new FlistError(error.code, message, hint === undefined ? { cause: error } : { hint, cause: error })
}
