import { constants } from 'node:fs'
import { errnoName, FlistError, systemCode } from '../base/index.ts'
import { type FlistIndex, hashArchive, type Route, TreeBuilder, writeArchive } from '../flist/index.ts'
import { type BlockFormat, openSinks, parseStoreUrl, publicUrl, type StoreRoute } from '../store/index.ts'
import { closeFd, FileStat, openPath } from '../system/index.ts'
import { BaseTree } from './base-tree.ts'
import { hashBytesOf } from './block-jobs.ts'
import { BlockWriter } from './block-writer.ts'
import { excluder } from './exclude.ts'
import { type Problem, Problems } from './problems.ts'
import { FolderWalk, type WalkOptions } from './walk-folder.ts'

export interface PackRequest {
  /** A folder. */
  readonly source: string
  /** Where the archive goes. */
  readonly archive: string
  readonly format: BlockFormat
  /** Where blocks go, and what the archive says of it. */
  readonly stores: readonly StoreRoute[]
  /** Where `dir:folder` begins. */
  readonly baseDir: string
  /** Write user names, passwords and tokens of stores into the archive. */
  readonly keepSecrets?: boolean
  /** An older archive of the same folder, and when it was made at the latest, in seconds. */
  readonly base?: { readonly index: FlistIndex; readonly madeAt: number } | undefined
  readonly exclude?: readonly string[]
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly time?: WalkOptions['time']
  readonly oneFileSystem?: boolean
  readonly follow?: boolean
  readonly tags?: ReadonlyMap<string, string>
  /** Threads that make blocks; one a core by default. */
  readonly threads?: number | undefined
  readonly onProgress?: ((progress: PackProgress) => void) | undefined
}

export interface PackProgress {
  readonly bytes: number
  readonly entries: number
}

export interface PackResult {
  readonly archive: string
  readonly format: BlockFormat
  /** SHA-256 of the archive. */
  readonly digest: string
  readonly entries: number
  /** Plain bytes that were read. */
  readonly bytes: number
  /** Different blocks made of them, those some store did not have, and the bytes of these as stored. */
  readonly blocks: number
  readonly newBlocks: number
  readonly newBytes: number
  /** Files whose blocks were taken from the base. */
  readonly reused: number
  /** What is not in the archive as it was: see `problems`. */
  readonly problemCount: number
  readonly problems: readonly Problem[]
}

/**
 * Packs a folder: its blocks into all stores first, then the archive, which has its name only when it is whole. Same folder, same
 * bytes. Throws FLIST_USAGE, FLIST_NOT_FOUND, FLIST_STORE_*, FLIST_LIMIT, FLIST_SYSTEM, FLIST_INTERRUPTED.
 */
export async function packFolder(request: PackRequest, signal: AbortSignal): Promise<PackResult> {
  const { format, source, archive } = request
  const fd = openSource(source)
  const tree = new TreeBuilder({ format, hashBytes: hashBytesOf(format) })
  tree.routes = routesOf(request)
  for (const [key, value] of request.tags ?? []) tree.tags.set(key, value)
  const problems = new Problems()
  let bytes = 0
  await using sinks = await openSinks(request.stores, request.baseDir)
  let walk: FolderWalk | undefined
  const report = (): void => request.onProgress?.({ bytes, entries: walk?.counters.entries ?? 0 })
  const onBytes = (more: number): void => {
    bytes += more
    report()
  }
  await using writer = new BlockWriter({ format, sinks, threads: request.threads, signal, onBytes })
  walk = new FolderWalk(tree, writer, problems, walkOptions(request))
  await walk.walk(fd, signal)
  await writer.drain()
  await writer.sync()
  await publish(tree, archive, signal)
  const { entries, reused } = walk.counters
  return {
    archive,
    format,
    digest: await hashArchive(archive, signal),
    entries,
    bytes,
    ...writer.totals,
    reused,
    problemCount: problems.count,
    problems: problems.list,
  }
}

/** From asm-generic/fcntl.h: no right to read is needed. */
const O_PATH = 0x20_0000

/** Routes of an archive whose blocks go to these stores. */
function routesOf({ stores, baseDir, keepSecrets = false }: PackRequest): Route[] {
  return stores.map(({ start, end, url }) => ({ start, end, url: keepSecrets ? url : publicUrl(url, baseDir) }))
}

function openSource(source: string): number {
  const fd = openPath(Buffer.from(source), constants.O_RDONLY | constants.O_DIRECTORY)
  if (fd >= 0) return fd
  const code = errnoName(-fd)
  const isAbsent = code === 'ENOENT' || code === 'ENOTDIR'
  throw new FlistError(isAbsent ? 'FLIST_NOT_FOUND' : 'FLIST_SYSTEM', `Cannot pack "${source}": ${code}`, {
    hint: 'Name a folder that you may read, or a tar',
  })
}

function walkOptions(request: PackRequest): WalkOptions {
  const stat = new FileStat()
  const identity = (path: string): string | undefined => {
    const fd = openPath(Buffer.from(path), O_PATH)
    if (fd < 0) return undefined
    const failed = stat.of(fd)
    closeFd(fd)
    return failed === 0 ? `${stat.system}.${stat.ino}` : undefined
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
    stores: new Set(folders.map(({ path }) => identity(path)).filter((key) => key !== undefined)),
  }
}

async function publish(tree: TreeBuilder, archive: string, signal: AbortSignal): Promise<void> {
  try {
    await writeArchive(tree, archive, signal)
  } catch (error) {
    if (systemCode(error) === '') throw error
    throw new FlistError('FLIST_SYSTEM', `Cannot write the archive "${archive}": ${systemCode(error)}`, {
      cause: error,
    })
  }
}
