import { resolve } from 'node:path'
import { isatty } from 'node:tty'
import { defaultCacheDir, LIMITS, type LogLevel } from '../base/index.ts'
import { isKept, MOUNT_TYPE, type MountListing, type ServeOptions, supervisor } from '../kernel/index.ts'
import type { ResolvedArchive } from '../store/index.ts'
import { isAwaited, leaveTerminal, tellSupervisor } from './background.ts'
import { notifyManager } from '../system/index.ts'
import { networkWarning } from './cache-place.ts'
import { locateArchive } from './fetched.ts'
import { freeDirectory } from './free-directory.ts'
import { refuseHidden } from './hidden.ts'
import { policyFiles } from './policy-files.ts'
import { showProgress } from './progress.ts'
import { refuseMounted, zeroOsNames } from './zero-os.ts'

/** The words of `flistfs mount`, checked. */
export interface MountRequest {
  readonly archive: string
  readonly directory: string
  /** `[xx-xx=]URL`; empty: the archive's own routes. */
  readonly stores: readonly string[]
  readonly cacheDir: string | undefined
  readonly cacheBytesMax: number | undefined
  readonly timeoutMs: number | undefined
  readonly onError: 'eio' | 'wait'
  readonly verifyAlways: boolean
  readonly passthrough: boolean
  /** What speaks to the kernel: our own code, or libfuse 2 by the package fuse-native. */
  readonly driver: 'native' | 'fuse-native'
  readonly suid: boolean
  readonly dev: boolean
  readonly allowOther: boolean
  readonly noexec: boolean
  readonly nosymfollow: boolean
  /** `[xx-xx=]URL`, for an archive that names no store itself. */
  readonly defaultStores: readonly string[]
  /** In the place of Zero-OS's mounters (docs/zero-os.md). */
  readonly asZeroOs: boolean
  /** Shares no server with other mounts. */
  readonly ownProcess: boolean
  readonly logFile: string | undefined
  readonly logLevel: LogLevel
  readonly traceFile?: string | undefined
  readonly metrics?: string | undefined
  /** SHA-256, 64 hex digits. */
  readonly digest: string | undefined
  readonly hub: string | undefined
  readonly rw: { readonly upper: string | undefined } | undefined
  /** A policy to obey, besides that of the machine. */
  readonly policy: string | undefined
}

/** What is said once it is mounted. */
export interface MountResult {
  readonly directory: string
  readonly archive: string
  readonly digest: string
  readonly pid: number
  readonly cacheDir: string
  readonly rw: boolean
  readonly foreground: boolean
}

export interface MountReport {
  warn(message: string): void
  mounted(result: MountResult): void
  /** Undefined: no progress is wanted. */
  readonly progress: ((text: string) => void) | undefined
}

/**
 * Mounts an archive and serves it until it is unmounted or `signal` aborts; the exit code is the result. With a launcher waiting
 * (docs/decisions/050-one-start.md) the process leaves the terminal once it serves.
 */
export async function mountArchive(request: MountRequest, report: MountReport, signal: AbortSignal): Promise<number> {
  const mountBy = (serve: Serve, directory: string, revived?: MountListing) =>
    mountOn(request, directory, revived, serve, report, signal)
  if (isKept()) return (await import('./kept-mount.ts')).goOn(request, mountBy, report, signal)
  if (request.driver === 'fuse-native') await (await import('./serve-fuse-native.ts')).requireFuseNative(request)
  const { path, revived } = await freeDirectory(request.directory, (message) => report.warn(message), signal)
  return mountBy(await serverOf(request.driver), path, revived)
}

/** Serves what is to be mounted; the exit code is the result. */
export type Serve = (options: ServeOptions) => Promise<number>

async function mountOn(
  request: MountRequest,
  directory: string,
  revived: MountListing | undefined,
  serve: Serve,
  report: MountReport,
  signal: AbortSignal,
): Promise<number> {
  const cacheDir = resolve(request.cacheDir ?? defaultCacheDir())
  if (request.asZeroOs) refuseMounted(directory)
  const unsafe = networkWarning(cacheDir)
  if (unsafe !== undefined) report.warn(unsafe)
  if (request.stores.length > 0) await checkStores(request.stores)
  const reading = showProgress(report.progress, 'Reading the archive', () => isatty(2))
  const asked = { cacheDir, digest: request.digest, onProgress: reading.onRows }
  const find = (): Promise<ResolvedArchive> => findArchive(request, cacheDir, report, signal)
  const warn = (message: string): void => report.warn(message)
  const archive = await locateArchive(find, asked, warn, signal).finally(() => reading.end())
  const { digest, indexPath } = archive
  const policies = policyFiles(request.policy)
  if (policies.length > 0) {
    await (await import('./policy.ts')).obeyPolicies(policies, archive, report, signal)
  }
  const stores = await chooseStores(request, indexPath, digest)
  const result = {
    directory,
    archive: archive.name,
    digest,
    cacheDir,
    rw: request.rw !== undefined,
    foreground: !isAwaited(),
  }
  const words: ServeOptions = {
    archivePath: archive.path,
    archiveName: archive.name,
    indexPath,
    digest,
    directory,
    stores,
    baseDir: stores.length > 0 ? process.cwd() : archive.baseDir,
    cacheDir,
    cacheBytesMax: request.cacheBytesMax,
    timeoutMs: request.timeoutMs ?? LIMITS.readTimeoutMs,
    onError: request.onError,
    verifyAlways: request.verifyAlways,
    passthrough: request.passthrough,
    suid: request.suid,
    dev: request.dev,
    allowOther: request.allowOther,
    noexec: request.noexec,
    nosymfollow: request.nosymfollow,
    ...(request.asZeroOs ? zeroOsNames() : { source: archive.name, subtype: MOUNT_TYPE.slice('fuse.'.length) }),
    logFile: request.logFile === undefined ? undefined : resolve(request.logFile),
    logLevel: request.logLevel,
    traceFile: request.traceFile === undefined ? undefined : resolve(request.traceFile),
    metrics: request.metrics,
    rw: request.rw && { upper: request.rw.upper === undefined ? undefined : resolve(request.rw.upper) },
    foreground: result.foreground,
    ownProcess: request.ownProcess,
    onReady: readiness(result, report),
    signal,
  }
  refuseHidden(words)
  if (revived !== undefined && isAwaited() && !request.ownProcess) {
    const { goOnAs } = await import('./kept-mount.ts')
    if (goOnAs(revived, words)) return 0
  }
  return serve(words)
}

/** Tells whoever waits that a server has it. */
export function readiness(result: Omit<MountResult, 'pid'>, report: MountReport): ServeOptions['onReady'] {
  return (server) => {
    report.mounted({ ...result, pid: server })
    // Another one serves it: this process has nothing more to do.
    if (server !== process.pid) return
    if (!result.foreground) leaveTerminal()
    const parent = supervisor()
    if (parent !== undefined) tellSupervisor(parent)
    if (!result.foreground) return
    const deaf = notifyManager(['READY=1', `STATUS=${result.archive} on ${result.directory}`])
    if (deaf !== undefined) report.warn(`Cannot tell the service manager: ${deaf}`)
  }
}

async function serverOf(driver: MountRequest['driver']): Promise<Serve> {
  if (driver === 'fuse-native') return (await import('./serve-fuse-native.ts')).serveByFuseNative
  return (await import('./serve.ts')).serveMount
}

async function findArchive(
  request: MountRequest,
  cacheDir: string,
  report: MountReport,
  signal: AbortSignal,
): Promise<ResolvedArchive> {
  const { resolveArchive } = await import('../store/index.ts')
  const progress = showProgress(report.progress, 'Fetching the archive', () => isatty(2))
  try {
    const { hub, digest } = request
    const options = {
      hub,
      digest,
      cacheDir,
      onProgress: progress.onProgress,
      onWarning: (message: string) => report.warn(message),
    }
    return await resolveArchive(request.archive, options, signal)
  } finally {
    progress.end()
  }
}

/** The operator's stores; none: the archive's own routes; where it has none either, the operator's for such archives. */
async function chooseStores(
  { stores, defaultStores }: MountRequest,
  indexPath: string,
  digest: string,
): Promise<readonly string[]> {
  if (stores.length > 0 || defaultStores.length === 0) return stores
  const { openIndex } = await import('../flist/index.ts')
  const index = openIndex(indexPath, digest)
  const hasRoutes = index.routes.length > 0
  index.close()
  if (hasRoutes) return []
  await checkStores(defaultStores)
  return defaultStores
}

/** A store that is written wrong is the caller's mistake, said before anything is mounted. Throws FLIST_USAGE. */
async function checkStores(stores: readonly string[]): Promise<void> {
  const { parseStoreRoute, parseStoreUrl } = await import('../store/index.ts')
  for (const store of stores) parseStoreUrl(parseStoreRoute(store).url, process.cwd())
}
