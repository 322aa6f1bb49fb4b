import { LIMITS, type Log } from '../base/index.ts'
import { BlockCache, defaultCacheBytes } from '../store/index.ts'
import { SharedLog } from './shared-log.ts'

export interface CacheWords {
  readonly cacheDir: string
  readonly cacheBytesMax: number | undefined
  readonly verifyAlways: boolean
}

interface Entry {
  readonly cache: Promise<BlockCache>
  readonly log: SharedLog
}

/** Opened caches: mounts that want the same of one share it. */
export class CachePool {
  readonly #entries = new Map<string, Entry>()

  /** Throws FLIST_CACHE_UNUSABLE. `release` when the mount has gone: the cache is closed with its last user. */
  async acquire(words: CacheWords, log: Log): Promise<{ cache: BlockCache; release: () => Promise<void> }> {
    const { cacheDir, cacheBytesMax, verifyAlways } = words
    const key = JSON.stringify([cacheDir, cacheBytesMax, verifyAlways])
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      const shared = new SharedLog()
      shared.logs.add(log)
      const cache = BlockCache.open(cacheDir, {
        bytesMax: cacheBytesMax ?? defaultCacheBytes(cacheDir),
        freeBytesMin: LIMITS.freeDiskBytesMin,
        verifyAlways,
        log: shared,
      })
      entry = { cache, log: shared }
      this.#entries.set(key, entry)
    }
    entry.log.logs.add(log)
    const { cache, log: shared } = entry
    const leave = async (): Promise<void> => {
      shared.logs.delete(log)
      if (shared.logs.size > 0) return
      this.#entries.delete(key)
      await (await cache).close()
    }
    try {
      return { cache: await cache, release: leave }
    } catch (error) {
      shared.logs.delete(log)
      this.#entries.delete(key)
      throw error
    }
  }

  /** The session thread read these segments: they are not the least recently used. */
  async used(segments: readonly number[]): Promise<void> {
    for (const { cache } of this.#entries.values()) (await cache).touch(segments)
  }

  async releaseUnlinked(): Promise<void> {
    for (const { cache } of this.#entries.values()) (await cache).releaseUnlinked()
  }
}
