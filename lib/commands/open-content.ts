import { LIMITS, type Log } from '../base/index.ts'
import {
  BlockCache,
  CachedReader,
  cacheSummary,
  defaultCacheBytes,
  openReader,
  parseStoreRoute,
  parseStoreUrl,
} from '../store/index.ts'
import type { OpenedArchive } from './open-archive.ts'

/** Where blocks come from, besides what the archive says. */
export interface ContentWords {
  /** `[xx-xx=]URL`; empty: the archive's own routes. */
  readonly stores: readonly string[]
  readonly timeoutMs: number | undefined
  readonly cacheBytesMax: number | undefined
}

export interface OpenedContent extends AsyncDisposable {
  readonly cache: BlockCache
  readonly reader: CachedReader
}

/** Said before anything is opened. Throws FLIST_USAGE for a store that is written wrong. */
export function checkStores(stores: readonly string[]): void {
  for (const store of stores) parseStoreUrl(parseStoreRoute(store).url, process.cwd())
}

/** Most bytes the cache may hold. */
export function cacheLimit(cacheDir: string, words: ContentWords): number {
  return words.cacheBytesMax ?? (cacheSummary(cacheDir).bytesMax || defaultCacheBytes(cacheDir))
}

/** An archive's blocks, through the cache that mounts use too. Throws FLIST_CACHE_UNUSABLE. */
export async function openContent(
  { index, baseDir, cacheDir }: Pick<OpenedArchive, 'index' | 'baseDir' | 'cacheDir'>,
  words: ContentWords,
  log: Log,
): Promise<OpenedContent> {
  const { stores, timeoutMs = LIMITS.readTimeoutMs } = words
  const isOwn = stores.length > 0
  const routes = isOwn ? stores.map((store) => ({ ...parseStoreRoute(store), trusted: true })) : [...index.routes]
  const bytesMax = cacheLimit(cacheDir, words)
  const cache = await BlockCache.open(cacheDir, { bytesMax, freeBytesMin: LIMITS.freeDiskBytesMin, log })
  const inner = openReader({ routes, baseDir: isOwn ? process.cwd() : baseDir, timeoutMs, log })
  const reader = new CachedReader(cache, inner, { failureMemoryMs: LIMITS.failureMemoryMs, log })
  return {
    cache,
    reader,
    async [Symbol.asyncDispose]() {
      await reader[Symbol.asyncDispose]()
      await cache.close()
    },
  }
}
