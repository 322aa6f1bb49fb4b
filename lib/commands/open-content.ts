import { LIMITS, type Log } from '../base/index.ts'
import type { LocalContent } from '../make/index.ts'
import {
  BlockCache,
  type BlockReader,
  CachedReader,
  cacheSummary,
  defaultCacheBytes,
  localRoutes,
  openReader,
  parseStoreRoute,
  parseStoreUrl,
  type ReaderRoute,
  type RoutedReader,
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
  const bytesMax = cacheLimit(cacheDir, words)
  const cache = await BlockCache.open(cacheDir, { bytesMax, freeBytesMin: LIMITS.freeDiskBytesMin, log })
  const stores = openStores({ index, baseDir }, words, log)
  const reader = new CachedReader(cache, stores, { failureMemoryMs: LIMITS.failureMemoryMs, log })
  return {
    cache,
    reader,
    async [Symbol.asyncDispose]() {
      await reader[Symbol.asyncDispose]()
      await cache.close()
    },
  }
}

/** The stores alone: the operator's, else the archive's own. */
export function openStores(
  archive: Pick<OpenedArchive, 'index' | 'baseDir'>,
  words: ContentWords,
  log: Log,
): RoutedReader {
  const { timeoutMs = LIMITS.readTimeoutMs } = words
  return openReader({ ...routesOf(archive, words), timeoutMs, log })
}

function routesOf(
  { index, baseDir }: Pick<OpenedArchive, 'index' | 'baseDir'>,
  { stores }: ContentWords,
): { readonly routes: readonly ReaderRoute[]; readonly baseDir: string } {
  if (stores.length === 0) return { routes: index.routes, baseDir }
  const routes = stores.map((store) => ({ ...parseStoreRoute(store), trusted: true }))
  return { routes, baseDir: process.cwd() }
}

/** What threads need to have an archive's blocks without us; undefined where its stores are all to be waited for. */
export async function localContent(
  archive: Pick<OpenedArchive, 'index' | 'indexPath' | 'baseDir'>,
  words: ContentWords,
): Promise<LocalContent | undefined> {
  const { routes, baseDir } = routesOf(archive, words)
  const local = await localRoutes(routes, baseDir)
  return local === undefined ? undefined : { indexPath: archive.indexPath, routes: local }
}

/** Blocks for one pass over all of an archive: what the cache has comes from there, and nothing is added to it. */
export async function openSupply(
  archive: Pick<OpenedArchive, 'index' | 'baseDir' | 'cacheDir'>,
  words: ContentWords,
  log: Log,
): Promise<BlockReader> {
  const bytesMax = cacheLimit(archive.cacheDir, words)
  const cache = await BlockCache.open(archive.cacheDir, { bytesMax, freeBytesMin: LIMITS.freeDiskBytesMin, log })
  const stores = openStores(archive, words, log)
  return {
    async read(ref, signal) {
      const at = cache.find(ref.key)
      const bytes = at === undefined || at.bytes !== ref.plainBytes ? undefined : cache.read(at)
      return bytes ?? (await stores.read(ref, signal))
    },
    async [Symbol.asyncDispose]() {
      await stores[Symbol.asyncDispose]()
      await cache.close()
    },
  }
}
