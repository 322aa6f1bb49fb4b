import { realpathSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { isatty } from 'node:tty'
import { defaultCacheDir, describeError, FlistError, LIMITS, type LogLevel, systemCode } from '../base/index.ts'
import type { ResolvedArchive } from '../store/index.ts'
import { goToBackground, launcherPid } from './background.ts'
import { archiveProgress } from './progress.ts'

/** The words of `flistfs mount`, checked. */
export interface MountRequest {
  readonly archive: string
  readonly directory: string
  /** `[xx-xx=]URL`; empty: the archive's own routes. */
  readonly stores: readonly string[]
  /** They stand in the process list, where others read them. */
  readonly storesFromWords: boolean
  readonly cacheDir: string | undefined
  readonly cacheBytesMax: number | undefined
  readonly timeoutMs: number | undefined
  readonly verifyAlways: boolean
  readonly passthrough: boolean
  readonly suid: boolean
  readonly dev: boolean
  readonly allowOther: boolean
  readonly logFile: string | undefined
  readonly logLevel: LogLevel
  readonly traceFile?: string | undefined
  readonly metrics?: string | undefined
  /** SHA-256, 64 hex digits. */
  readonly digest: string | undefined
  readonly hub: string | undefined
  readonly rw: { readonly upper: string | undefined } | undefined
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
  const launcher = launcherPid()
  const directory = checkDirectory(request.directory)
  const cacheDir = resolve(request.cacheDir ?? defaultCacheDir())
  if (request.stores.length > 0) await checkStores(request, report)
  const archive = await findArchive(request, cacheDir, report, signal)
  const { locateIndex } = await import('../flist/index.ts')
  const { digest, indexPath } = await locateIndex(archive.path, { cacheDir, digest: request.digest }, signal)
  const result: MountResult = {
    directory,
    archive: archive.name,
    digest,
    pid: process.pid,
    cacheDir,
    rw: request.rw !== undefined,
    foreground: launcher === undefined,
  }
  const { serveMount } = await import('./serve.ts')
  return serveMount({
    archivePath: archive.path,
    archiveName: archive.name,
    indexPath,
    digest,
    directory,
    stores: request.stores,
    baseDir: request.stores.length > 0 ? process.cwd() : archive.baseDir,
    cacheDir,
    cacheBytesMax: request.cacheBytesMax,
    timeoutMs: request.timeoutMs ?? LIMITS.readTimeoutMs,
    verifyAlways: request.verifyAlways,
    passthrough: request.passthrough,
    suid: request.suid,
    dev: request.dev,
    allowOther: request.allowOther,
    logFile: request.logFile === undefined ? undefined : resolve(request.logFile),
    logLevel: request.logLevel,
    traceFile: request.traceFile === undefined ? undefined : resolve(request.traceFile),
    metrics: request.metrics,
    rw: request.rw && { upper: request.rw.upper === undefined ? undefined : resolve(request.rw.upper) },
    foreground: launcher === undefined,
    onReady: () => {
      report.mounted(result)
      if (launcher !== undefined) goToBackground(launcher)
    },
    signal,
  })
}

/** The folder as the kernel will say it. */
function checkDirectory(name: string): string {
  try {
    if (statSync(name).isDirectory()) return realpathSync(name)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOTCONN') {
      throw new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${name}": a mount whose server has died is there`, {
        hint: `Run \`flistfs umount --force ${name}\` first`,
        cause: error,
      })
    }
    throw new FlistError(
      'FLIST_MOUNT_FAILED',
      `Cannot mount on "${name}": ${code === 'ENOENT' ? 'no such folder' : code || describeError(error)}`,
      {
        ...(code === 'ENOENT' ? { hint: `Make the folder first: mkdir -p ${name}` } : {}),
        cause: error,
      },
    )
  }
  throw new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${name}": it is not a folder`)
}

async function findArchive(
  request: MountRequest,
  cacheDir: string,
  report: MountReport,
  signal: AbortSignal,
): Promise<ResolvedArchive> {
  const { resolveArchive } = await import('../store/index.ts')
  const progress = archiveProgress(report.progress, 'the archive', isatty(2))
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

/** A store that is written wrong is the caller's mistake, said before anything is mounted. Throws FLIST_USAGE. */
async function checkStores({ stores, storesFromWords }: MountRequest, report: MountReport): Promise<void> {
  const { hasInlineSecret, parseStoreRoute, parseStoreUrl } = await import('../store/index.ts')
  for (const store of stores) parseStoreUrl(parseStoreRoute(store).url, process.cwd())
  // What stands in the command line, every user of the machine can read.
  if (!storesFromWords || !stores.some((store) => hasInlineSecret(store))) return
  report.warn('A password in --store is seen by every user in the process list; put the URL into FLISTFS_STORE instead')
}
