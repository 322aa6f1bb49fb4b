import { FlistError } from '../base/index.ts'
import { shareOf, type ShareReport } from '../flist/index.ts'
import { CacheView } from '../store/index.ts'
import type { OpenedArchive } from './open-archive.ts'

export interface DiskUse extends ShareReport {
  readonly names: readonly string[]
  /** Of each archive: its blocks in the cache, and their bytes. */
  readonly cached: readonly { readonly blocks: number; readonly bytes: number }[]
}

/** What archives hold, share and have in the cache. Throws FLIST_USAGE for archives of two formats. */
export async function diskUse(archives: readonly OpenedArchive[], signal: AbortSignal): Promise<DiskUse> {
  const indexes = archives.map(({ index }) => index)
  const strange = archives.find(({ index }) => index.format !== indexes[0]?.format)
  if (strange !== undefined) {
    throw new FlistError(
      'FLIST_USAGE',
      `Cannot compare "${strange.name}" with "${archives[0]?.name ?? ''}": formats differ`,
      {
        hint: 'Blocks of fl and v1 are never the same; ask for each format by itself',
      },
    )
  }
  const report = shareOf(indexes)
  const view = CacheView.open(archives[0]?.cacheDir ?? '')
  try {
    const cached = []
    for (const index of indexes)
      cached.push((await view?.share(index.keys, index.hashBytes, signal)) ?? { blocks: 0, bytes: 0 })
    return { ...report, names: archives.map(({ name }) => name), cached }
  } finally {
    view?.close()
  }
}
