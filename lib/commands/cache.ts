import { statfsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { defaultCacheDir, FlistError, Log, systemReason } from '../base/index.ts'
import { digestRecords, hashArchive, shelvedIndexes } from '../flist/index.ts'
import {
  CacheKeeper,
  cacheSummary,
  CacheView,
  defaultCacheBytes,
  makeRoom,
  type PinSummary,
  type PruneOptions,
  type PruneResult,
  removeTorn,
  shelvedArchives,
  urlRecords,
  verifyCache,
  type VerifyResult,
} from '../store/index.ts'
import { type KnownArchive, knownArchives, tryIndex } from './cache-archives.ts'
import { mountedBlocks, workWithRoom } from './cache-room.ts'

export interface CachedArchive extends Omit<KnownArchive, 'indexPath' | 'usedMs'> {
  /** ISO 8601. */
  readonly usedAt: string
  readonly pinned: boolean
  /** Of its blocks; undefined where the index is not here. */
  readonly blocks: number | undefined
  readonly blocksHere: number
  readonly bytesHere: number
  readonly contentBytes: number
}

export interface CacheListing {
  readonly cacheDir: string
  readonly bytes: number
  readonly blocks: number
  readonly segments: number
  /** The limit of whoever opened it last. */
  readonly bytesMax: number
  readonly freeBytes: number
  readonly archives: readonly CachedArchive[]
  readonly pins: readonly PinSummary[]
}

export function cacheDirOf(named: string | undefined): string {
  return resolve(named ?? defaultCacheDir())
}

/** What a cache folder holds. Throws FLIST_CACHE_UNUSABLE where it cannot be read. */
export async function listCache(named: string | undefined, signal: AbortSignal): Promise<CacheListing> {
  const cacheDir = cacheDirOf(named)
  const summary = cacheSummary(cacheDir)
  const view = CacheView.open(cacheDir)
  try {
    const pins = view?.pins() ?? []
    const archives: CachedArchive[] = []
    for (const { indexPath, usedMs, ...known } of knownArchives(cacheDir)) {
      const index = tryIndex(indexPath, known.digest)
      const share = index && (await view?.share(index.keys, index.hashBytes, signal))
      archives.push({
        ...known,
        usedAt: new Date(usedMs).toISOString(),
        pinned: pins.some(({ name }) => name === known.digest),
        blocks: index?.blockCount,
        blocksHere: share?.blocks ?? 0,
        bytesHere: share?.bytes ?? 0,
        contentBytes: index?.contentBytes ?? 0,
      })
      index?.close()
    }
    const { bytes, blocks, segments } = summary
    const bytesMax = summary.bytesMax || defaultCacheBytes(cacheDir)
    return { cacheDir, bytes, blocks, segments, bytesMax, freeBytes: freeBytes(cacheDir), archives, pins }
  } finally {
    view?.close()
  }
}

function freeBytes(path: string): number {
  try {
    const disk = statfsSync(path)
    return disk.bavail * disk.bsize
  } catch {
    return path === dirname(path) ? 0 : freeBytes(dirname(path))
  }
}

export interface PruneRequest {
  readonly cacheDir: string | undefined
  readonly to: number | undefined
  readonly olderMs: number | undefined
  readonly all: boolean
  readonly dryRun: boolean
}

export interface PruneOutcome extends PruneResult {
  readonly cacheDir: string
  readonly dryRun: boolean
  indexes: number
  archives: number
  records: number
  /** Bytes of the indexes and archives that went, half written ones too. */
  archiveBytes: number
}

/**
 * Removes blocks, least recently used first, and with `all` or `olderMs` also indexes, archives and records; never what is
 * pinned or mounted. Without any wish: down to the cache's limit, and what crashes left. Throws FLIST_CACHE_UNUSABLE.
 */
export async function pruneCache(request: PruneRequest, log: Log, signal: AbortSignal): Promise<PruneOutcome> {
  const cacheDir = cacheDirOf(request.cacheDir)
  const { all, dryRun, olderMs } = request
  const usedBeforeMs = olderMs === undefined ? undefined : Date.now() - olderMs
  const hasWish = all || olderMs !== undefined
  const limit = (): number => cacheSummary(cacheDir).bytesMax || defaultCacheBytes(cacheDir)
  const bytesMax = request.to ?? (hasWish ? undefined : limit())
  using mounted = mountedBlocks(cacheDir)
  const usedBefore = usedBeforeMs === undefined ? undefined : Math.floor(usedBeforeMs / 1000)
  const result = await pruneBlocks(cacheDir, { bytesMax, usedBefore, dryRun, protect: mounted.keys }, log, signal)
  const pinned = CacheView.open(cacheDir)
  const kept = new Set([...mounted.digests, ...(pinned?.pins() ?? []).map(({ name }) => name)])
  pinned?.close()
  const outcome = { ...result, cacheDir, dryRun, indexes: 0, archives: 0, records: 0, archiveBytes: 0 }
  if (!dryRun) outcome.archiveBytes += removeTorn(cacheDir)
  if (hasWish) pruneArchives(outcome, kept, all ? undefined : usedBeforeMs)
  return outcome
}

/** Again where the disk was too full to write down what goes, and room could be made. */
function pruneBlocks(cacheDir: string, options: PruneOptions, log: Log, signal: AbortSignal): Promise<PruneResult> {
  const prune = (keeper: CacheKeeper): Promise<PruneResult> => keeper.prune(options, signal)
  const make = async (): Promise<readonly number[]> => (options.dryRun ? [] : makeRoom(cacheDir, options, signal))
  return workWithRoom(cacheDir, log, signal, prune, make).catch((error: unknown) => {
    signal.throwIfAborted()
    throw unusable(cacheDir, error)
  })
}

function unusable(cacheDir: string, cause: unknown): FlistError {
  if (cause instanceof FlistError) return cause
  return new FlistError('FLIST_CACHE_UNUSABLE', `Cannot prune the cache "${cacheDir}": ${systemReason(cause)}`, {
    hint: 'Run `flistfs cache verify --repair`; where the disk is full, make room on it',
    cause,
  })
}

function pruneArchives(outcome: PruneOutcome, kept: ReadonlySet<string>, usedBeforeMs: number | undefined): void {
  const { cacheDir, dryRun } = outcome
  const goes = (one: { digest: string; usedMs: number }): boolean =>
    !kept.has(one.digest) && (usedBeforeMs === undefined || one.usedMs < usedBeforeMs)
  const indexes = shelvedIndexes(cacheDir).filter(goes)
  const archives = shelvedArchives(cacheDir).filter(goes)
  const gone = new Set(archives.map(({ digest }) => digest))
  const records = [
    ...digestRecords(cacheDir).filter(goes),
    ...urlRecords(cacheDir).filter(({ digest }) => gone.has(digest)),
  ]
  outcome.indexes = indexes.length
  outcome.archives = archives.length
  outcome.records = records.length
  for (const { bytes } of [...indexes, ...archives]) outcome.archiveBytes += bytes
  if (!dryRun) for (const one of [...records, ...indexes, ...archives]) one.remove()
}

export interface VerifyRequest {
  readonly cacheDir: string | undefined
  readonly repair: boolean
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined
}

export interface VerifyOutcome extends VerifyResult {
  readonly cacheDir: string
  /** Digests of archives, or of their indexes, that are damaged. */
  readonly archives: readonly string[]
}

/** Hashes blocks and archives, beside running mounts. Throws FLIST_CACHE_UNUSABLE. */
export async function verify(request: VerifyRequest, log: Log, signal: AbortSignal): Promise<VerifyOutcome> {
  const cacheDir = cacheDirOf(request.cacheDir)
  const { repair, onProgress } = request
  const result = await verifyCache(cacheDir, { repair, log, onProgress }, signal)
  const archives = new Set<string>()
  for (const archive of shelvedArchives(cacheDir)) {
    if ((await hashArchive(archive.path, signal)) === archive.digest) continue
    archives.add(archive.digest)
    if (repair) archive.remove()
  }
  for (const index of shelvedIndexes(cacheDir)) {
    if (!index.isCurrent || isSound(index.path, index.digest)) continue
    archives.add(index.digest)
    if (repair) index.remove()
  }
  return { ...result, cacheDir, archives: [...archives], repaired: result.repaired || (repair && archives.size > 0) }
}

function isSound(path: string, digest: string): boolean {
  const index = tryIndex(path, digest)
  index?.close()
  return index !== undefined
}
