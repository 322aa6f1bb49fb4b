import { isatty } from 'node:tty'
import { FlistError, LIMITS, Log } from '../base/index.ts'
import { locateIndex, openIndex, shelvedIndexes, type FlistIndex } from '../flist/index.ts'
import {
  BlockCache,
  CachedReader,
  CacheKeeper,
  cacheSummary,
  defaultCacheBytes,
  openReader,
  parseStoreRoute,
  parseStoreUrl,
  resolveArchive,
  type ResolvedArchive,
} from '../store/index.ts'
import { fetchAll, type FetchAllResult } from '../vfs/index.ts'
import { digestIn, knownDigest } from './cache-archives.ts'
import { cacheDirOf } from './cache.ts'
import { archiveProgress } from './progress.ts'

export interface PinRequest {
  /** A path, a URL, a name on a hub, or the digest of an archive that is known here. */
  readonly archive: string
  readonly cacheDir: string | undefined
  readonly cacheBytesMax: number | undefined
  readonly hub: string | undefined
  readonly digest: string | undefined
  readonly stores: readonly string[]
  readonly timeoutMs: number | undefined
  readonly fetch: boolean
}

export interface PinReport {
  warn(message: string): void
  /** Undefined: no progress is wanted. */
  readonly progress: ((text: string) => void) | undefined
}

export interface PinOutcome {
  readonly archive: string
  readonly digest: string
  readonly cacheDir: string
  readonly blocks: number
  /** Present when all was to be fetched. */
  readonly fetched?: Omit<FetchAllResult, 'error'>
}

/** Keeps all blocks of an archive in the cache, and with `fetch` brings them there. Throws what finding and opening it throws. */
export async function pinArchive(
  request: PinRequest,
  report: PinReport,
  log: Log,
  signal: AbortSignal,
): Promise<{ outcome: PinOutcome; error: unknown }> {
  const cacheDir = cacheDirOf(request.cacheDir)
  for (const store of request.stores) parseStoreUrl(parseStoreRoute(store).url, process.cwd())
  const { index, name, baseDir } = await openArchive(request, cacheDir, report, signal)
  try {
    const limit = request.cacheBytesMax ?? (cacheSummary(cacheDir).bytesMax || defaultCacheBytes(cacheDir))
    if (index.contentBytes > limit) {
      report.warn(`"${name}" has ${index.contentBytes} bytes, the cache may hold ${limit}: not all of it will stay`)
    }
    const keeper = new CacheKeeper(cacheDir, log)
    try {
      keeper.pin(index.digest, index.keys, index.hashBytes)
    } finally {
      keeper.close()
    }
    const outcome = { archive: name, digest: index.digest, cacheDir, blocks: index.blockCount }
    if (!request.fetch) return { outcome, error: undefined }
    const { error, ...fetched } = await fetchArchive(
      index,
      { ...request, cacheDir, limit, baseDir },
      report,
      log,
      signal,
    )
    return { outcome: { ...outcome, fetched }, error }
  } finally {
    index.close()
  }
}

/** `changed`: it was pinned. Throws FLIST_NOT_FOUND for an archive that is not known here. */
export async function unpinArchive(
  name: string,
  namedCache: string | undefined,
  log: Log,
  signal: AbortSignal,
): Promise<{ digest: string; cacheDir: string; changed: boolean }> {
  const cacheDir = cacheDirOf(namedCache)
  const digest = await knownDigest(cacheDir, name, signal)
  const keeper = new CacheKeeper(cacheDir, log)
  try {
    return { digest, cacheDir, changed: keeper.unpin(digest) }
  } finally {
    keeper.close()
  }
}

async function openArchive(
  request: PinRequest,
  cacheDir: string,
  report: PinReport,
  signal: AbortSignal,
): Promise<{ index: FlistIndex; name: string; baseDir: string }> {
  const hex = digestIn(request.archive)
  if (hex !== undefined) {
    const known = shelvedIndexes(cacheDir).find(({ digest, isCurrent }) => isCurrent && digest === hex)
    if (known !== undefined) return { index: openIndex(known.path, hex), name: hex, baseDir: process.cwd() }
    throw new FlistError('FLIST_NOT_FOUND', `Cannot find the archive "${request.archive}" in the cache "${cacheDir}"`, {
      hint: 'Give its path, URL or name on a hub',
    })
  }
  const archive = await resolve(request, cacheDir, report, signal)
  const { indexPath, digest } = await locateIndex(archive.path, { cacheDir, digest: request.digest }, signal)
  return { index: openIndex(indexPath, digest), name: archive.name, baseDir: archive.baseDir }
}

async function resolve(
  { archive, hub, digest }: PinRequest,
  cacheDir: string,
  report: PinReport,
  signal: AbortSignal,
): Promise<ResolvedArchive> {
  const progress = archiveProgress(report.progress, 'the archive', isatty(2))
  const onWarning = (message: string): void => report.warn(message)
  try {
    return await resolveArchive(archive, { hub, digest, cacheDir, onProgress: progress.onProgress, onWarning }, signal)
  } finally {
    progress.end()
  }
}

async function fetchArchive(
  index: FlistIndex,
  request: PinRequest & { cacheDir: string; limit: number; baseDir: string },
  report: PinReport,
  log: Log,
  signal: AbortSignal,
): Promise<FetchAllResult> {
  const { stores, baseDir, timeoutMs = LIMITS.readTimeoutMs } = request
  const isOwn = stores.length > 0
  const routes = isOwn ? stores.map((words) => ({ ...parseStoreRoute(words), trusted: true })) : [...index.routes]
  await using cache = await BlockCache.open(request.cacheDir, {
    bytesMax: request.limit,
    freeBytesMin: LIMITS.freeDiskBytesMin,
    log,
  })
  const inner = openReader({ routes, baseDir: isOwn ? process.cwd() : baseDir, timeoutMs, log })
  await using reader = new CachedReader(cache, inner, { failureMemoryMs: LIMITS.failureMemoryMs, log })
  const progress = archiveProgress(report.progress, 'blocks', isatty(2))
  try {
    return await fetchAll({ index, reader, onProgress: progress.onProgress }, signal)
  } finally {
    progress.end()
  }
}
