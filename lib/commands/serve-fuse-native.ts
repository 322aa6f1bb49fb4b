import { randomBytes } from 'node:crypto'
import { FlistError, Log, openAtEnd, threadUrl } from '../base/index.ts'
import { type FlistIndex, openIndex } from '../flist/index.ts'
import {
  Counters,
  FetchClient,
  type FuseNativeMount,
  loadFuseNative,
  ownHolder,
  processNamed,
  raiseReadahead,
  readMounts,
  registerMount,
  type ServeOptions,
  signalProcess,
  supervisor,
  supervisorName,
  takeAway,
  topMount,
  Trace,
  unregisterMount,
  wantsChecks,
} from '../kernel/index.ts'
import { exitNow, MNT, notifyManager, watchdogEveryMs } from '../system/index.ts'
import { BlockTable, CachedReads, SegmentFiles, Tree } from '../vfs/index.ts'
import type { FetchMountData } from './fetch-mount.ts'

/** Milliseconds. */
const HOUSEKEEP_EVERY_MS = 10_000
/** What a read may take beyond the fetch thread's own deadline. */
const GRACE_MS = 10_000

/** What fuse-native's interface has no place for. Said before anything is fetched. Throws FLIST_USAGE, FLIST_MOUNT_FAILED. */
export async function requireFuseNative(words: {
  readonly passthrough: boolean
  readonly nosymfollow: boolean
  readonly rw: unknown
  readonly traceFile?: string | undefined
}): Promise<void> {
  const { passthrough, nosymfollow, rw, traceFile } = words
  const said = {
    '--passthrough': passthrough,
    '--rw': rw !== undefined,
    '--trace': traceFile !== undefined,
    '--nosymfollow': nosymfollow,
  }
  const option = Object.entries(said).find(([, isSaid]) => isSaid)?.[0]
  if (option !== undefined) {
    throw new FlistError('FLIST_USAGE', `Cannot use ${option} with --driver fuse-native`, {
      hint: 'Leave --driver out: our own driver does it',
    })
  }
  await loadFuseNative()
  // libfuse opens a device of its own.
  const holder = ownHolder()
  if (holder !== undefined && holder.pid !== supervisor()) signalProcess(holder, 'SIGKILL')
}

/**
 * Mounts an archive by fuse-native and serves it until it is unmounted, like `serveMount`. It always has its own process, and ends with
 * it: libfuse holds the device, so no supervisor can (docs/decisions/173-fuse-native-is-optional.md). Resolves with the exit code.
 */
export async function serveByFuseNative(options: ServeOptions): Promise<number> {
  const log = new Log(options.logFile === undefined ? 2 : openAtEnd(options.logFile, 0o640), options.logLevel)
  const makeMount = await loadFuseNative()
  const index = openIndex(options.indexPath, options.digest)
  const id = `${process.pid}-${randomBytes(4).toString('hex')}`
  const table = new BlockTable(index.blockCount)
  const files = new SegmentFiles(options.cacheDir, true)
  const counters = new Counters()
  const trace = new Trace()
  const { onReady: _ready, signal, foreground: _foreground, ownProcess: _own, ...words } = options
  const data: FetchMountData = {
    ...words,
    id,
    fd: undefined,
    posted: undefined,
    table: table.memory,
    counters: counters.memory,
    trace: trace.memory,
    logLevel: log.memory,
  }
  const client = new FetchClient(threadUrl('fetch-thread', import.meta.url))
  const fetch = client.add({ data, log, onLost: () => undefined })
  const tree = new Tree(index)
  const reads = new CachedReads(index, table, files)
  const mount = makeMount(
    { ...options, checked: wantsChecks(index.owners, options.allowOther) },
    {
      tree,
      reads,
      fetch,
      readDeadlineMs: options.onError === 'wait' ? undefined : options.timeoutMs + GRACE_MS,
      neverFromCache: options.verifyAlways,
      counters,
      log,
    },
  )
  try {
    await mount.mount(signal)
    await announced(options, id, log)
    fetch.start()
    await untilEnded(mount, options, () => housekeep(index, files, client), log)
  } finally {
    // The index stays mapped until the process ends: after a failure libfuse may still ask.
    await client.close()
    files.close()
    unregisterMount(id)
  }
  log.info('unmounted', { directory: options.directory })
  // process.exit() would wait for it too.
  if (client.isStuck) exitNow(0)
  return 0
}

/** The kernel's first request was answered: others are told, or it goes at once. */
async function announced(options: ServeOptions, id: string, log: Log): Promise<void> {
  try {
    announce(options, id, log)
  } catch (error) {
    await takeAway(options.directory, MNT.DETACH)
    throw error
  }
}

function announce(options: ServeOptions, id: string, log: Log): void {
  const { directory, archiveName, digest, cacheDir, onReady } = options
  const entry = topMount(readMounts(), directory)
  if (entry === undefined) throw new FlistError('FLIST_MOUNT_FAILED', `Cannot find "${directory}" among the mounts`)
  raiseReadahead(entry.minor)
  registerMount({
    id,
    directory,
    archive: archiveName,
    digest,
    ...processNamed(process.pid),
    startedAt: new Date().toISOString(),
    cacheDir,
    connection: entry.minor,
    supervisor: supervisorName(),
    driver: 'fuse-native',
  })
  log.info('mounted', { directory, digest, driver: 'fuse-native' })
  onReady(process.pid)
}

async function untilEnded(
  mount: FuseNativeMount,
  { directory, signal }: ServeOptions,
  housekeep: () => void,
  log: Log,
): Promise<void> {
  const leave = (): void => void unmount(directory, log)
  signal.addEventListener('abort', leave)
  if (signal.aborted) leave()
  const everyMs = watchdogEveryMs()
  const watchdog = everyMs === undefined ? undefined : setInterval(() => notifyManager(['WATCHDOG=1']), everyMs)
  const housekeeping = setInterval(housekeep, HOUSEKEEP_EVERY_MS)
  try {
    await mount.ended()
  } finally {
    clearInterval(housekeeping)
    clearInterval(watchdog)
    signal.removeEventListener('abort', leave)
  }
}

/** As for every mount: what is in use is detached, and served until its last user lets go; asked again, it is cut off. */
async function unmount(directory: string, log: Log): Promise<void> {
  const again = (): never => exitNow(130)
  process.on('SIGINT', again)
  process.on('SIGTERM', again)
  if ((await takeAway(directory, 0)) === 0) return
  log.warn('in use: it goes with its last user; ask again to cut him off', { directory })
  await takeAway(directory, MNT.DETACH)
}

/** Lets go of evicted files and of pages of the index, and tells what was read: eviction does not see this thread's reads. */
function housekeep(index: FlistIndex, files: SegmentFiles, fetch: FetchClient): void {
  files.releaseUnlinked()
  index.release()
  const used = files.takeUsed()
  if (used.length > 0) fetch.used(used)
}
