import { constants } from 'node:fs'
import { codeReason, errnoName, FlistError } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import { parseStoreUrl } from '../store/index.ts'
import { closeFd, type FileIdentity, FileStat, openPath } from '../system/index.ts'
import { ArchiveMaker, type MadeArchive, type MakerOptions } from './archive-maker.ts'
import { BaseTree } from './base-tree.ts'
import { countFolder } from './count-folder.ts'
import { excluder } from './exclude.ts'
import { type Problem, Problems } from './problems.ts'
import { FolderWalk, type WalkOptions } from './walk-folder.ts'

export interface PackRequest extends Omit<MakerOptions, 'onBytes'> {
  /** A folder. */
  readonly source: string
  /** An older archive of the same folder, and when it was made at the latest, in seconds. */
  readonly base?: { readonly index: FlistIndex; readonly madeAt: number } | undefined
  readonly exclude?: readonly string[]
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly time?: WalkOptions['time']
  readonly oneFileSystem?: boolean
  readonly follow?: boolean
  readonly onProgress?: ((progress: PackProgress) => void) | undefined
}

export interface PackProgress {
  /** Of files that were read, or are known to be as they were. */
  readonly bytes: number
  /** Of all files, once that is known. */
  readonly total: number | undefined
  readonly entries: number
}

export interface PackResult extends MadeArchive {
  /** Files whose blocks were taken from the base. */
  readonly reused: number
  /** What is not in the archive as it was, or not at all; the list is cut at some thousands. */
  readonly problemCount: number
  readonly problems: readonly Problem[]
}

/**
 * Packs a folder: its blocks into all stores first, then the archive, which has its name only when it is whole. Same folder, same
 * bytes. Throws FLIST_USAGE, FLIST_NOT_FOUND, FLIST_STORE_*, FLIST_LIMIT, FLIST_SYSTEM, FLIST_INTERRUPTED.
 */
export async function packFolder(request: PackRequest, signal: AbortSignal): Promise<PackResult> {
  const fd = openSource(request.source)
  const problems = new Problems()
  const counting = new AbortController()
  let walk: FolderWalk | undefined
  let total: number | undefined
  const onBytes = (read: number): void => {
    const { entries, reusedBytes } = walk?.counters ?? { entries: 0, reusedBytes: 0 }
    request.onProgress?.({ bytes: read + reusedBytes, total, entries })
  }
  let counted: Promise<void> | undefined
  try {
    await using maker = await ArchiveMaker.open({ ...request, onBytes }, signal)
    // Now that the folders of the stores are there: one that lies in the source is refused.
    const options = walkOptions(request)
    walk = new FolderWalk(maker, problems, options, signal)
    if (request.onProgress !== undefined) {
      counted = countFolder(fd, options, counting.signal).then((bytes) => void (total = bytes))
    }
    await walk.walk(fd)
    const made = await maker.finish(signal)
    const { reused } = walk.counters
    return { ...made, reused, problemCount: problems.count, problems: problems.list }
  } finally {
    counting.abort()
    await counted
    closeFd(fd)
  }
}

/** From asm-generic/fcntl.h: no right to read is needed. */
const O_PATH = 0x20_0000

function openSource(source: string): number {
  const fd = openPath(Buffer.from(source), constants.O_RDONLY | constants.O_DIRECTORY)
  if (fd >= 0) return fd
  const code = errnoName(-fd)
  const isAbsent = code === 'ENOENT' || code === 'ENOTDIR'
  throw new FlistError(isAbsent ? 'FLIST_NOT_FOUND' : 'FLIST_SYSTEM', `Cannot pack "${source}": ${codeReason(code)}`, {
    hint: 'Name a folder that you may read, or a tar',
  })
}

function walkOptions(request: PackRequest): WalkOptions {
  const stat = new FileStat()
  const identity = (path: string): FileIdentity | undefined => {
    const fd = openPath(Buffer.from(path), O_PATH)
    if (fd < 0) return undefined
    const failed = stat.of(fd)
    closeFd(fd)
    return failed === 0 ? { system: stat.system, ino: stat.ino } : undefined
  }
  const folders = request.stores
    .map(({ url }) => parseStoreUrl(url, request.baseDir))
    .filter(({ scheme }) => scheme === 'dir')
  const { exclude = [], base, uid, gid, time, oneFileSystem, follow } = request
  return {
    excludes: excluder(exclude),
    uid,
    gid,
    time,
    oneFileSystem,
    follow,
    base: base === undefined ? undefined : new BaseTree(base.index, base.madeAt),
    archive: identity(request.archive),
    stores: folders.map(({ path }) => identity(path)).filter((each) => each !== undefined),
  }
}
