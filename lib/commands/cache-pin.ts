import { isatty } from 'node:tty'
import { FlistError, type Log } from '../base/index.ts'
import { openIndex, shelvedIndexes, type FlistIndex } from '../flist/index.ts'
import { fetchAll, type FetchAllResult } from '../vfs/index.ts'
import { digestIn, knownDigest } from './cache-archives.ts'
import { changeCache } from './cache-room.ts'
import { cacheDirOf } from './cache.ts'
import { openArchive as openNamed } from './open-archive.ts'
import { cacheLimit, checkStores, openContent } from './open-content.ts'
import { showProgress } from './progress.ts'

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
  checkStores(request.stores)
  const { index, name, baseDir } = await openArchive(request, cacheDir, report, signal)
  try {
    const limit = cacheLimit(cacheDir, request)
    if (index.contentBytes > limit) {
      report.warn(`"${name}" has ${index.contentBytes} bytes, the cache may hold ${limit}: not all of it will stay`)
    }
    const kept = { keys: [{ keys: index.keys, keyBytes: index.hashBytes }] }
    await changeCache(cacheDir, kept, log, signal, (keeper) => keeper.pin(index.digest, index.keys, index.hashBytes))
    const outcome = { archive: name, digest: index.digest, cacheDir, blocks: index.blockCount }
    if (!request.fetch) return { outcome, error: undefined }
    const { error, ...fetched } = await fetchArchive({ index, baseDir, cacheDir }, request, report, log, signal)
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
  const changed = await changeCache(cacheDir, { unpinned: digest }, log, signal, (keeper) => keeper.unpin(digest))
  return { digest, cacheDir, changed }
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
  return openNamed({ ...request, cacheDir }, report, signal)
}

async function fetchArchive(
  archive: { index: FlistIndex; baseDir: string; cacheDir: string },
  request: PinRequest,
  report: PinReport,
  log: Log,
  signal: AbortSignal,
): Promise<FetchAllResult> {
  await using content = await openContent(archive, request, log)
  const progress = showProgress(report.progress, 'Fetching blocks', isatty(2))
  try {
    return await fetchAll({ index: archive.index, reader: content.reader, onProgress: progress.onProgress }, signal)
  } finally {
    progress.end()
  }
}
