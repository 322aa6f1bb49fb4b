import { existsSync, mkdirSync, openSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describeError, FlistError, Log, systemReason } from '../base/index.ts'
import { openIndex, type FlistIndex } from '../flist/index.ts'
import {
  Answers,
  Counters,
  endServer,
  FetchClient,
  isMountOf,
  loadState,
  mountDevice,
  type MountRecord,
  openDevice,
  OpenFiles,
  type OpensKeeper,
  passingChangesDir,
  prepareRuntimeDir,
  processStart,
  raiseReadahead,
  readMounts,
  recordOf,
  registerMount,
  requestResend,
  requireOverlay,
  saveState,
  type ServeOptions,
  type ServeWords,
  Session,
  supervisor,
  topMount,
  takeAway,
  Trace,
  unregisterMount,
  wantsChecks,
} from '../kernel/index.ts'
import { claimChanges, hideLower, inheritChanges, mountOverlay, releaseChanges } from '../runtime/index.ts'
import { exitNow, MNT, notifyManager, watchdogEveryMs } from '../system/index.ts'
import { BlockTable, CachedReads, SegmentFiles, Tree } from '../vfs/index.ts'
import { tellSupervisor } from './background.ts'
import type { FetchThreadData } from './fetch-thread.ts'
import { openAgain } from './open-index.ts'

/** For bin/supervise a death: what is missing now (an archive, room on the disk) may be back in a moment. */
const TRY_AGAIN = 255
/** Milliseconds. */
const HOUSEKEEP_EVERY_MS = 10_000

/** What a server leaves for the one that comes after it: the words of the mount, and how it stands. */
interface Legacy {
  readonly options: ServeWords
  readonly served: string
  readonly overlaid: boolean
}

type Opens = ReturnType<OpensKeeper['load']>

/**
 * Mounts an archive and serves it on this thread until it is unmounted. Resolves with the exit code. Until the first
 * request is answered only what stands above is loaded: the fetch thread brings stores and cache.
 * Throws FLIST_MOUNT_FAILED, FLIST_NOT_PERMITTED, FLIST_INDEX_DAMAGED.
 */
export async function serveMount(options: ServeOptions): Promise<number> {
  const log = openLog(options)
  const index = openIndex(options.indexPath, options.digest)
  try {
    return await new Server(options, index, log).run()
  } finally {
    index.close()
  }
}

/**
 * Goes on with the mount whose server died, for the supervisor that holds its device: nothing is mounted anew, and the
 * kernel repeats what was not answered. Throws FLIST_NOT_MOUNTED where nothing was left behind.
 */
export async function resumeMount(signal: AbortSignal): Promise<number> {
  const parent = supervisor()
  const pidStart = parent === undefined ? undefined : processStart(parent)
  const record = parent === undefined ? undefined : recordOf({ pid: parent, pidStart: pidStart ?? 0 })
  const legacy = record === undefined ? undefined : (loadState(record.id, 'state') as Legacy | undefined)
  if (record?.driver !== undefined) {
    const message = `Cannot resume "${record.directory}": ${record.driver} held its device, and ended with the server`
    throw new FlistError('FLIST_NOT_MOUNTED', message, { hint: 'Mount it again: what is dead is cleared away' })
  }
  if (record === undefined || legacy === undefined) {
    throw new FlistError('FLIST_NOT_MOUNTED', 'Cannot resume: no mount was left by a server of this supervisor')
  }
  const onReady = (): void => tellSupervisor(parent ?? 0)
  const options: ServeOptions = { ...legacy.options, foreground: false, onReady, signal }
  const log = openLog(options)
  const index = await openAgain(options, signal).catch((error: unknown) => {
    if (!readMounts().some((entry) => isMountOf(entry, record))) throw error
    log.error('no server can go on for now', { directory: record.directory, error: describeError(error) })
  })
  if (index === undefined) return TRY_AGAIN
  try {
    const server = new Server(options, index, log, { record, legacy })
    const old = process.env['FLISTFS_TAKEOVER']
    // All is ready: readers wait from here on only.
    if (old !== undefined) await endServer(Number(old))
    const why = old === undefined ? `it died (${process.env['FLISTFS_DIED'] ?? ''})` : 'it was replaced'
    log.warn('another server goes on', { directory: record.directory, why })
    return await server.run()
  } finally {
    index.close()
  }
}

function openLog(options: ServeOptions): Log {
  const { logFile, logLevel } = options
  if (logFile === undefined) return new Log(2, logLevel)
  try {
    return new Log(openSync(logFile, 'a', 0o640), logLevel)
  } catch (cause) {
    throw new FlistError('FLIST_SYSTEM', `Cannot write the log "${logFile}": ${systemReason(cause)}`, {
      hint: 'Make its folder, or name another file with --log',
      cause,
    })
  }
}

class Server {
  readonly #options: ServeOptions
  readonly #index: FlistIndex
  readonly #log: Log
  readonly #id: string
  readonly #startedAt: string
  /** Undefined: this server mounts; else it goes on with what another mounted. */
  readonly #heir: { readonly record: MountRecord; readonly legacy: Legacy } | undefined
  readonly #table: BlockTable
  readonly #files: SegmentFiles
  readonly #counters = new Counters()
  readonly #trace = new Trace()
  readonly #fd: number
  /** The kernel checks owners and modes. */
  readonly #checked: boolean
  /** Where our own file system is mounted: below the overlay of a writable mount. */
  readonly #served: string
  readonly #fetch: FetchClient
  #failure: unknown
  /** A writable mount's overlay is in the tree. */
  #overlaid: boolean

  constructor(options: ServeOptions, index: FlistIndex, log: Log, heir?: { record: MountRecord; legacy: Legacy }) {
    this.#options = options
    this.#index = index
    this.#log = log
    this.#heir = heir
    this.#id = heir?.record.id ?? `${process.pid}-${Math.random().toString(36).slice(2, 10)}`
    this.#startedAt = heir?.record.startedAt ?? new Date().toISOString()
    this.#overlaid = heir?.legacy.overlaid ?? false
    this.#table = new BlockTable(index.blockCount)
    this.#files = new SegmentFiles(options.cacheDir)
    const { rw, directory } = options
    this.#served =
      heir?.legacy.served ?? (rw === undefined ? directory : join(prepareRuntimeDir(), `lower-${this.#id}`))
    if (options.traceFile !== undefined) this.#trace.start(options.traceFile)
    this.#checked = wantsChecks(index.owners, options.allowOther)
    this.#fd = openDevice()
    this.#fetch = new FetchClient(fetchThreadUrl(), this.#fetchData(), log)
  }

  async run(): Promise<number> {
    const { directory, rw, signal } = this.#options
    signal.throwIfAborted()
    if (this.#heir === undefined) this.#mount()
    else this.#inherit(this.#heir.record)
    const session = this.#session()
    const leave = (): void => void this.#unmount()
    signal.addEventListener('abort', leave)
    const everyMs = watchdogEveryMs()
    const watchdog = everyMs === undefined ? undefined : setInterval(() => notifyManager(['WATCHDOG=1']), everyMs)
    const housekeeping = setInterval(() => this.#housekeep(), HOUSEKEEP_EVERY_MS)
    try {
      await session.run()
    } finally {
      clearInterval(housekeeping)
      clearInterval(watchdog)
      signal.removeEventListener('abort', leave)
      await this.#fetch.close()
      this.#files.close()
      unregisterMount(this.#id)
      if (rw !== undefined) this.#leaveChanges()
    }
    if (this.#failure !== undefined) throw this.#failure
    this.#log.info('unmounted', { directory })
    return 0
  }

  #mount(): void {
    const { rw, suid, dev, allowOther, noexec, source, subtype } = this.#options
    if (rw !== undefined) {
      requireOverlay(this.#options.directory)
      mkdirSync(this.#served)
    }
    const words = { source, subtype, directory: this.#served, suid, dev, allowOther, noexec }
    mountDevice(this.#fd, { ...words, checked: this.#checked })
  }

  #inherit(record: MountRecord): void {
    if (this.#options.rw !== undefined) inheritChanges(this.#changes())
    registerMount(this.#record(record.connection, record.rw?.overlay ?? -1))
    // Before Linux 6.9 what the dead server had taken waits for the kernel's own end of it.
    if (!requestResend(this.#fd))
      this.#log.warn('this kernel cannot repeat requests: readers of the dead server may wait')
    this.#options.onReady()
    setImmediate(() => this.#fetch.start())
  }

  #session(): Session {
    const { passthrough, verifyAlways } = this.#options
    const tree = new Tree(this.#index)
    const reads = new CachedReads(this.#index, this.#table, this.#files)
    return new Session({
      fd: this.#fd,
      answers: new Answers(tree, reads, this.#fetch, verifyAlways),
      counters: this.#counters,
      wish: { posixAcl: this.#index.hasAcls && this.#checked, passthrough, idmap: this.#checked },
      log: this.#log,
      trace: this.#trace,
      openFiles: passthrough ? new OpenFiles(this.#fd, tree, this.#fetch, this.#opensKeeper(), this.#log) : undefined,
      onInit: () => void this.#ready().catch((error: unknown) => this.#fail(error)),
      onInterrupt: (lo, hi) => this.#fetch.interrupt(lo, hi),
      // Pages of the index come back from the page cache when they are needed; until then they are not ours.
      onIdle: () => this.#index.release(),
    })
  }

  #opensKeeper(): OpensKeeper {
    return {
      load: () => (this.#heir === undefined ? [] : ((loadState(this.#id, 'opens') as Opens | undefined) ?? [])),
      save: (opens) => saveState(this.#id, 'opens', opens),
    }
  }

  /** The kernel has our answer to INIT. */
  async #ready(): Promise<void> {
    const { directory, rw, onReady } = this.#options
    const entry = topMount(readMounts(), this.#served)
    if (entry === undefined)
      throw new FlistError('FLIST_MOUNT_FAILED', `Cannot find "${this.#served}" among the mounts`)
    raiseReadahead(entry.minor)
    if (rw !== undefined) await this.#makeWritable()
    const overlay = rw === undefined ? -1 : (topMount(readMounts(), directory)?.minor ?? -1)
    registerMount(this.#record(entry.minor, overlay))
    this.#leaveLegacy()
    this.#log.info('mounted', { directory, digest: this.#options.digest })
    onReady()
    this.#fetch.start()
  }

  async #makeWritable(): Promise<void> {
    const { directory, source, suid, dev, noexec } = this.#options
    const { mode, owner, owners, mtime, mtimeNs } = this.#index
    const at = 2 * (owner[0] ?? 0)
    const changes = this.#changes()
    claimChanges(changes, this.#options.digest)
    await mountOverlay({
      lower: this.#served,
      changes,
      directory,
      root: {
        mode: (mode[0] ?? 0) & 0o7777,
        uid: owners[at] ?? 0,
        gid: owners[at + 1] ?? 0,
        mtimeSeconds: ((mtime[0] ?? 0) >>> 0) + (mtime[1] ?? 0) * 2 ** 32,
        mtimeNs: mtimeNs?.[0] ?? 0,
        xattrs: this.#index.xattrs(0),
      },
      suid,
      dev,
      noexec,
      source,
    })
    this.#overlaid = true
    await hideLower(this.#served)
  }

  #leaveLegacy(): void {
    if (supervisor() === undefined) return
    const legacy: Legacy = { options: wordsOf(this.#options), served: this.#served, overlaid: this.#overlaid }
    saveState(this.#id, 'state', legacy)
  }

  #leaveChanges(): void {
    const changes = this.#changes()
    releaseChanges(changes)
    if (this.#options.rw?.upper === undefined) rmSync(changes, { recursive: true, force: true })
    // Gone already where all went well. Never recursively: should it still be mounted, what is in there is not ours.
    if (existsSync(this.#served)) rmdirSync(this.#served)
  }

  /** Where changes of a writable mount go. */
  #changes(): string {
    return this.#options.rw?.upper ?? passingChangesDir(this.#options.cacheDir, this.#id)
  }

  #fail(error: unknown): void {
    this.#failure = error
    // Nobody was told of this mount: it goes at once.
    void this.#takeAway()
  }

  async #takeAway(): Promise<void> {
    if (this.#overlaid) await takeAway(this.#options.directory, MNT.DETACH)
    await takeAway(this.#served, MNT.DETACH)
  }

  /** The user wants it gone. What is in use is detached, and served until its last user lets go; asked again, it is cut off. */
  async #unmount(): Promise<void> {
    const { directory } = this.#options
    const again = (): never => exitNow(130)
    process.on('SIGINT', again)
    process.on('SIGTERM', again)
    const busy = await takeAway(directory, 0)
    if (busy === 0) return
    this.#log.warn('in use: it goes with its last user; ask again to cut him off', { directory })
    await takeAway(directory, MNT.DETACH)
  }

  /** Lets go of evicted files, and tells what was read: eviction does not see this thread's reads. */
  #housekeep(): void {
    this.#trace.settle()
    this.#files.releaseUnlinked()
    const used = this.#files.takeUsed()
    if (used.length > 0) this.#fetch.used(used)
  }

  #record(connection: number, overlay: number): MountRecord {
    const { directory, archiveName, digest, cacheDir, rw } = this.#options
    const parent = supervisor()
    return {
      id: this.#id,
      directory,
      archive: archiveName,
      digest,
      pid: process.pid,
      pidStart: processStart(process.pid) ?? 0,
      startedAt: this.#startedAt,
      cacheDir,
      rw: rw === undefined ? undefined : { upper: rw.upper, overlay },
      connection,
      supervisor: parent === undefined ? undefined : { pid: parent, pidStart: processStart(parent) ?? 0 },
    }
  }

  #fetchData(): FetchThreadData {
    return {
      ...wordsOf(this.#options),
      id: this.#id,
      fd: this.#fd,
      table: this.#table.memory,
      counters: this.#counters.memory,
      trace: this.#trace.memory,
      logLevel: this.#log.memory,
    }
  }
}

/** The options without what belongs to this process alone. */
function wordsOf({ onReady: _ready, signal: _signal, foreground: _foreground, ...words }: ServeOptions): ServeWords {
  return words
}

/** A thread's file keeps its ending: `.ts` in the source, `.js` when published. */
function fetchThreadUrl(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? './fetch-thread.ts' : './fetch-thread.js', import.meta.url)
}
