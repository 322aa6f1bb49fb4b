import { realpathSync } from 'node:fs'
import { resolve } from 'node:path'
import { FlistError } from '../base/index.ts'
import { digestRecords, hashArchive, openIndex, shelvedIndexes, type FlistIndex } from '../flist/index.ts'
import { listMounts } from '../kernel/index.ts'
import { shelvedArchives, urlRecords } from '../store/index.ts'

/** What a cache folder knows of one archive. */
export interface KnownArchive {
  readonly digest: string
  /** Paths and URLs it was mounted by. */
  readonly names: readonly string[]
  /** Where it is mounted from this cache now. */
  readonly mounts: readonly string[]
  readonly indexPath: string | undefined
  readonly indexBytes: number
  /** Of the downloaded archive; 0 where it is not kept. */
  readonly archiveBytes: number
  /** Milliseconds since 1970 of the last use, as far as the times of files tell. */
  readonly usedMs: number
}

/** Every archive that the folder holds an index, a copy or a record of. */
export function knownArchives(cacheDir: string): KnownArchive[] {
  const mounts = mountsOf(cacheDir)
  const indexes = shelvedIndexes(cacheDir).filter(({ isCurrent }) => isCurrent)
  const archives = shelvedArchives(cacheDir)
  const records = digestRecords(cacheDir)
  const urls = urlRecords(cacheDir)
  const digests = new Set([indexes, archives, records, urls].flatMap((list) => list.map(({ digest }) => digest)))
  return [...digests].toSorted().map((digest) => {
    const is = (one: { readonly digest: string }): boolean => one.digest === digest
    const index = indexes.find(is)
    const archive = archives.find(is)
    const here = mounts.filter(is)
    const names = [
      ...urls.filter(is).map(({ url }) => url),
      ...records.filter(is).flatMap((record) => (isCopy(cacheDir, record.archive) ? [] : [record.archive ?? ''])),
      ...here.map((mount) => mount.archive),
    ]
    return {
      digest,
      names: [...new Set(names.filter((name) => name !== ''))],
      mounts: here.map(({ directory }) => directory),
      indexPath: index?.path,
      indexBytes: index?.bytes ?? 0,
      archiveBytes: archive?.bytes ?? 0,
      usedMs: Math.max(0, ...[index, archive, ...records.filter(is)].map((file) => file?.usedMs ?? 0)),
    }
  })
}

function isCopy(cacheDir: string, path: string | undefined): boolean {
  return path?.startsWith(`${cacheDir}/v1/archives/`) === true
}

/** Mounts that use this cache folder, by whatever name. */
export function mountsOf(cacheDir: string): { digest: string; directory: string; archive: string }[] {
  const here = real(cacheDir)
  return listMounts().filter((mount) => real(mount.cacheDir) === here)
}

function real(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return resolve(path)
  }
}

/** Opens an index, or undefined where it is not there or damaged. */
export function tryIndex(path: string | undefined, digest: string): FlistIndex | undefined {
  if (path === undefined) return undefined
  try {
    return openIndex(path, digest)
  } catch (error) {
    if (error instanceof FlistError) return undefined
    throw error
  }
}

/** The digest of an archive that is known here by this path, URL, name on a hub or digest. Throws FLIST_NOT_FOUND. */
export async function knownDigest(cacheDir: string, name: string, signal: AbortSignal): Promise<string> {
  const hex = digestIn(name)
  if (hex !== undefined) return hex
  const known = knownArchives(cacheDir)
  const path = resolve(name)
  const found =
    known.find(({ names }) => names.includes(name) || names.includes(path)) ??
    known.find(({ names }) => names.some((url) => /^https?:/.test(url) && url.endsWith(`/${name}`)))
  if (found !== undefined) return found.digest
  try {
    return await hashArchive(path, signal)
  } catch (cause) {
    if (!(cause instanceof FlistError) || cause.code !== 'FLIST_NOT_FOUND') throw cause
    throw new FlistError('FLIST_NOT_FOUND', `Cannot find the archive "${name}" in the cache "${cacheDir}"`, {
      hint: 'See `flistfs cache list` for what is there; digests may be given too',
      cause,
    })
  }
}

/** `sha256:HEX` or 64 hex digits. */
export function digestIn(name: string): string | undefined {
  return /^(?:sha256:)?([0-9a-f]{64})$/i.exec(name)?.[1]?.toLowerCase()
}
