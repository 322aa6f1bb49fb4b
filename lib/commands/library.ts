import { SILENT } from '../base/index.ts'
import type { Change, Difference } from '../flist/index.ts'
import type { PackResult, WrittenArchive } from '../make/index.ts'
import { checkOptions } from './check-options.ts'
import type { ConvertResult, ConvertWords } from './convert.ts'
import type { DiffCounts } from './diff.ts'
import type { ExportResult, ExportWords } from './export.ts'
import type { MergeRequest } from './merge.ts'
import type { Inspection, StatResult } from './look.ts'
import { type ArchiveReport, openArchive as open, type OpenedArchive } from './open-archive.ts'
import type { ContentWords } from './open-content.ts'
import type { PackWords } from './pack.ts'
import type { UnpackOutcome } from './unpack.ts'
import type { VerifyOutcome, VerifyRequest } from './verify.ts'

/*
 * What verbs do, for programs: with the defaults of the command line, silent, and loaded when it is called. Everything throws
 * FlistError; FLIST_INTERRUPTED, or the reason of `signal`, once that aborts.
 */

/** What is said on the way, and is no failure. Without it nothing is heard. */
export interface LibraryOptions {
  readonly onWarning?: ((message: string) => void) | undefined
}

/** Where an archive is looked for; all may be left out. */
export interface OpenOptions extends LibraryOptions {
  /** Folder of the cache; as the program has it by default. */
  readonly cacheDir?: string | undefined
  /** URL of the hub that `user/name.flist` is on. */
  readonly hub?: string | undefined
  /** SHA-256 that it must have, 64 hex digits. */
  readonly digest?: string | undefined
}

/** Where blocks come from; all may be left out. */
export interface ContentOptions extends OpenOptions {
  /** `[xx-xx=]URL`; empty: what the archive says. */
  readonly stores?: readonly string[] | undefined
  /** Milliseconds until a block that no store serves fails. */
  readonly timeoutMs?: number | undefined
  /** Most bytes the cache may hold. */
  readonly cacheBytesMax?: number | undefined
}

type Some<Words, Needed extends keyof Words> = Pick<Words, Needed> & Partial<Words> & LibraryOptions

export type PackOptions = Some<PackWords, 'source' | 'archive' | 'stores'>
export type ConvertOptions = Some<ConvertWords, 'image' | 'archive' | 'stores'>
export type ExportOptions = Some<ExportWords, 'archive' | 'image'>
export type UnpackOptions = ContentOptions & { readonly archive: string; readonly directory: string }
export type VerifyOptions = Some<VerifyRequest, 'archive'>
export type MergeOptions = Some<MergeRequest, 'archives' | 'output'>

/** Two archives, or an archive and a folder. */
export interface DiffOptions extends ContentOptions {
  readonly before: string
  readonly after: string
  /** Differences that do not count. */
  readonly ignore?: ReadonlySet<Difference> | undefined
  /** Called for each entry that differs, in the order of paths. */
  readonly onChange?: ((change: Change) => void) | undefined
}

/**
 * Packs a folder or a tar: its blocks into all `stores`, then the archive, by rename. What could not be packed as it is stands in
 * `problems`. Throws FLIST_USAGE, FLIST_NOT_FOUND, FLIST_IMAGE_DAMAGED (a tar that is none), FLIST_STORE_*, FLIST_BLOCK_NOT_ROUTED,
 * FLIST_LIMIT, FLIST_SYSTEM.
 */
export async function packArchive(options: PackOptions, signal: AbortSignal): Promise<PackResult> {
  const { pack } = await import('./pack.ts')
  const defaults = { format: 'fl', keepPassword: false, exclude: [], numericOwner: false, sign: [] } as const
  const switches = { oneFileSystem: false, follow: false, sync: true }
  const nothing = { base: undefined, owner: undefined, group: undefined, mtime: undefined, threads: undefined }
  const words = { ...ARCHIVE, ...defaults, ...switches, ...nothing, ...said(options) }
  return pack(words, reportOf(options), signal)
}

/** Makes an archive of a container image. Throws as `packArchive`, and FLIST_IMAGE_* and FLIST_REGISTRY_* for the image. */
export async function convertImage(options: ConvertOptions, signal: AbortSignal): Promise<ConvertResult> {
  const { convert } = await import('./convert.ts')
  const defaults = { format: 'fl', keepPassword: false, startup: true, mirrors: [], plainHttp: [], sign: [] } as const
  const words = { cacheDir: undefined, platform: undefined, threads: undefined, ...defaults, ...said(options) }
  return convert(words, reportOf(options), signal)
}

/** Makes a container image of an archive. Throws what `openArchive` and `readArchiveFile` throw, FLIST_USAGE, FLIST_IMAGE_*. */
export async function exportArchive(options: ExportOptions, signal: AbortSignal): Promise<ExportResult> {
  const { exportImage } = await import('./export.ts')
  const words = { ...ARCHIVE, ...contentOf(options), platform: undefined, plainHttp: [], ...said(options) }
  return exportImage(words, reportOf(options), SILENT, signal)
}

/**
 * Opens an archive by path, URL or name on a hub, fetched and compiled where it was not yet. Its `index` is mapped memory, valid until
 * it is closed by `using` or `[Symbol.dispose]()`. Throws FLIST_NOT_FOUND, FLIST_DIGEST_MISMATCH, FLIST_ARCHIVE_DAMAGED,
 * FLIST_FORMAT_UNKNOWN, FLIST_LIMIT, FLIST_CACHE_UNUSABLE, FLIST_STORE_* (of its download).
 */
export function openArchive(archive: string, options: OpenOptions, signal: AbortSignal): Promise<OpenedArchive> {
  return open({ ...ARCHIVE, ...options, archive }, reportOf(options), signal)
}

/** What `flistfs inspect --json` prints: sizes in bytes. */
export async function inspectArchive(archive: OpenedArchive, signal: AbortSignal): Promise<Inspection> {
  return (await import('./look.ts')).inspectArchive(archive, signal)
}

/** Attributes of paths in an archive; links are not followed. Throws FLIST_USAGE for what is not in it. */
export async function statArchivePaths(archive: OpenedArchive, paths: readonly string[]): Promise<StatResult[]> {
  return (await import('./look.ts')).statPaths(archive, paths)
}

/**
 * The content of a file of an archive, in pieces of 512 KiB at most; links are followed. Throws FLIST_USAGE for what is not there or no
 * file, FLIST_BLOCK_* and FLIST_STORE_* for content that cannot be had, FLIST_FILE_TRUNCATED.
 */
export async function* readArchiveFile(
  archive: OpenedArchive,
  path: string,
  options: ContentOptions,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  const [{ fileBytes, fileRow }, { openContent }] = await Promise.all([import('./cat.ts'), import('./open-content.ts')])
  const row = fileRow(archive.index, path)
  await using content = await openContent(archive, contentOf(options), SILENT)
  yield* fileBytes(archive.index, row, content, signal)
}

/** Compares two trees and counts what differs. Throws as `openArchive`, and FLIST_SYSTEM for a folder that cannot be read. */
export async function diffArchives(options: DiffOptions, signal: AbortSignal): Promise<DiffCounts> {
  const { diffTrees } = await import('./diff.ts')
  const { before, after, ignore = new Set(), onChange = () => undefined, cacheDir, hub, digest } = options
  const words = { cacheDir, hub, digest }
  const request = {
    before: { ...words, archive: before },
    // A digest is one archive's.
    after: { ...words, archive: after, digest: undefined },
    ignore,
    content: contentOf(options),
  }
  return diffTrees(request, reportOf(options), onChange, SILENT, signal)
}

/**
 * Checks an archive, and with `look: 'blocks'` or `'deep'` its blocks in each store; what is wrong is in the result. Throws as
 * `openArchive`, and FLIST_STORE_*, FLIST_TIMEOUT for a store that does not answer.
 */
export async function verifyArchive(options: VerifyOptions, signal: AbortSignal): Promise<VerifyOutcome> {
  const verb = await import('./verify.ts')
  const defaults = { stores: [], look: 'structure', repair: false, from: [], signers: undefined } as const
  return verb.verifyArchive({ ...ARCHIVE, ...defaults, ...said(options) }, reportOf(options), signal)
}

/** Restores an archive's tree in a folder; what is not as in the archive is in `leftOut`. Throws as `readArchiveFile`, and FLIST_SYSTEM. */
export async function unpackArchive(options: UnpackOptions, signal: AbortSignal): Promise<UnpackOutcome> {
  const verb = await import('./unpack.ts')
  return verb.unpackArchive({ ...ARCHIVE, ...options, ...contentOf(options) }, reportOf(options), SILENT, signal)
}

/** Puts archives over each other, the lowest first; no block is read. Throws as `openArchive`, and FLIST_USAGE for two formats. */
export async function mergeArchives(options: MergeOptions, signal: AbortSignal): Promise<WrittenArchive> {
  const verb = await import('./merge.ts')
  const defaults = { stores: [], whiteouts: true, sign: [], cacheDir: undefined, hub: undefined }
  return verb.mergeArchives({ ...defaults, ...said(options) }, reportOf(options), signal)
}

const ARCHIVE = { cacheDir: undefined, hub: undefined, digest: undefined }

/** Without those that are undefined, as JavaScript and most settings of TypeScript have them: they are left out too. */
function said<Options extends object>(options: Options): Options {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options
}

function contentOf(options: ContentOptions): ContentWords {
  checkOptions(options)
  const { stores = [], timeoutMs, cacheBytesMax } = options
  return { stores, timeoutMs, cacheBytesMax }
}

function reportOf(options: LibraryOptions): ArchiveReport {
  checkOptions(options)
  const { onWarning } = options
  return { warn: (message) => onWarning?.(message), progress: undefined }
}
