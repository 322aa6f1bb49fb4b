import type { Log } from '../base/index.ts'
import { type FlistIndex, shelvedIndexes } from '../flist/index.ts'
import { CacheKeeper, isFullDisk, type KeyList, makeRoom, unwritable } from '../store/index.ts'
import { mountsOf, tryIndex } from './cache-archives.ts'

/** The blocks of what is mounted from a cache folder. */
export interface MountedBlocks extends Disposable {
  readonly digests: ReadonlySet<string>
  readonly keys: readonly KeyList[]
}

/** Keys are views of files: they hold until this is disposed of. */
export function mountedBlocks(cacheDir: string): MountedBlocks {
  const digests = new Set(mountsOf(cacheDir).map(({ digest }) => digest))
  const open: FlistIndex[] = shelvedIndexes(cacheDir).flatMap(({ digest, path, isCurrent }) => {
    const index = isCurrent && digests.has(digest) ? tryIndex(path, digest) : undefined
    return index === undefined ? [] : [index]
  })
  return {
    digests,
    keys: open.map(({ keys, hashBytes }) => ({ keys, keyBytes: hashBytes })),
    [Symbol.dispose]: () => {
      for (const index of open) index.close()
    },
  }
}

/** What stays though the disk is full, besides what is mounted and pinned; and a name whose pins are about to go. */
export interface Kept {
  readonly keys?: readonly KeyList[]
  readonly unpinned?: string
}

/**
 * A change of a cache's rows. On a full disk, where not even those can be written, room is made of blocks that are neither mounted nor
 * pinned nor `kept`, and the change is tried again. Throws FLIST_CACHE_UNUSABLE.
 */
export async function changeCache<T>(
  cacheDir: string,
  { keys = [], unpinned }: Kept,
  log: Log,
  signal: AbortSignal,
  work: (keeper: CacheKeeper) => T,
): Promise<T> {
  const gone: number[] = []
  const change = async (keeper: CacheKeeper): Promise<T> => {
    const done = work(keeper)
    for (const segment of gone) await keeper.remove(segment, [])
    return done
  }
  const make = async (): Promise<readonly number[]> => {
    using mounted = mountedBlocks(cacheDir)
    const options = { bytesMax: undefined, usedBefore: undefined, dryRun: false, unpinned }
    const room = { ...options, protect: [...mounted.keys, ...keys] }
    const more = isFullDisk(cacheDir) ? await makeRoom(cacheDir, room, signal) : []
    gone.push(...more)
    return more
  }
  return workWithRoom(cacheDir, log, signal, change, make).catch((error: unknown) => {
    signal.throwIfAborted()
    throw unwritable(cacheDir, error)
  })
}

/** Works on a cache, and once more each time that it fails and `make` could make room. Throws what `work` does. */
export async function workWithRoom<T>(
  cacheDir: string,
  log: Log,
  signal: AbortSignal,
  work: (keeper: CacheKeeper) => Promise<T>,
  make: () => Promise<readonly number[]>,
): Promise<T> {
  for (;;) {
    try {
      const keeper = new CacheKeeper(cacheDir, log)
      try {
        return await work(keeper)
      } finally {
        keeper.close()
      }
    } catch (error) {
      signal.throwIfAborted()
      const gone = await make().catch(() => [])
      if (gone.length === 0) throw error
    }
  }
}
