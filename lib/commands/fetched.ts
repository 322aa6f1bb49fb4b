import { rmSync } from 'node:fs'
import { basename } from 'node:path'
import { FlistError } from '../base/index.ts'
import type { LocatedIndex, LocateOptions } from '../flist/index.ts'
import type { ResolvedArchive } from '../store/index.ts'

/**
 * An archive and its index. A kept copy whose bytes are not those of its name, which is its digest, is fetched once more: its
 * server would only say that it has not changed. Throws what `find` and `locateIndex` throw.
 */
export async function locateArchive(
  find: () => Promise<ResolvedArchive>,
  options: LocateOptions,
  warn: (message: string) => void,
  signal: AbortSignal,
): Promise<ResolvedArchive & LocatedIndex> {
  const { hashArchive, locateIndex } = await import('../flist/index.ts')
  for (let isFirst = true; ; isFirst = false) {
    const found = await find()
    const isCopy = (digest: string): boolean => found.url === undefined || digest === basename(found.path)
    try {
      const located = await locateIndex(found.path, options, signal)
      if (!isFirst || isCopy(located.digest)) return { ...found, ...located }
    } catch (error) {
      if (!isFirst || found.url === undefined || isCopy(await hashArchive(found.path, signal)))
        throw aboutFetched(error, found)
    }
    warn(`The copy of "${found.name}" in the cache is damaged: it is fetched again`)
    rmSync(found.path, { force: true })
  }
}

/** What is wrong with an archive that was fetched is said of its name: its file in the cache nobody has asked for. */
function aboutFetched(error: unknown, { path, name, url }: ResolvedArchive): unknown {
  if (url === undefined || !(error instanceof FlistError) || !error.message.includes(`"${path}"`)) return error
  const message = error.message.replace(`"${path}"`, `"${name}"`)
  const isPage = error.code === 'FLIST_FORMAT_UNKNOWN'
  const hint = isPage ? 'Look at what the server sends: it may be a web page in the place of the archive' : error.hint
  return new FlistError(error.code, message, hint === undefined ? { cause: error } : { hint, cause: error })
}
