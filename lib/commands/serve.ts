import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, openSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { FlistError, Log } from '../base/index.ts'
import { openIndex, type FlistIndex } from '../flist/index.ts'
import {
  Answers,
  Counters,
  FetchClient,
  mountDevice,
  MOUNT_TYPE,
  type MountRecord,
  openDevice,
  OpenFiles,
  passingChangesDir,
  prepareRuntimeDir,
  processStart,
  raiseReadahead,
  readMounts,
  registerMount,
  type ServeOptions,
  Session,
  topMount,
  Trace,
  unregisterMount,
} from '../kernel/index.ts'
import { claimChanges, hideLower, mountOverlay, releaseChanges } from '../runtime/index.ts'
import { exitNow, MNT, umountAsync } from '../system/index.ts'
import { BlockTable, CachedReads, SegmentFiles, Tree } from '../vfs/index.ts'
import type { FetchThreadData } from './fetch-thread.ts'

/** Milliseconds. */
const HOUSEKEEP_EVERY_MS = 10_000

/**
 * Mounts an archive and serves it on this thread until it is unmounted. Resolves with the exit code. Until the first
 * request is answered only what stands above is loaded: the fetch thread brings stores and cache.
 * Throws FLIST_MOUNT_FAILED, FLIST_NOT_PERMITTED, FLIST_INDEX_DAMAGED.
 */
export async function serveMount(options: ServeOptions): Promise<number> {
  const log = new Log(options.logFile === undefined ? 2 : openSync(options.logFile, 'a', 0o640), options.logLevel)
  const index = openIndex(options.indexPath, options.digest)
  try {
    return await new Server(options, index, log).run()
  } finally {
    index.close()
  }
}

class Server {
  readonly #options: ServeOptions
  readonly #index: FlistIndex
  readonly #log: Log
  readonly #id = `${process.pid}-${randomBytes(4).toString('hex')}`
  readonly #table: BlockTable
  readonly #files: SegmentFiles
  readonly #counters = new Counters()
  readonly #trace = new Trace()
  readonly #fd: number
  /** Where our own file system is mounted: below the overlay of a writable mount. */
  readonly #served: string
  readonly #fetch: FetchClient
  #failure: unknown
  /** A writable mount's overlay is in the tree. */
  #overlaid = false

  constructor(options: ServeOptions, index: FlistIndex, log: Log) {
    this.#options = options
    this.#index = index
    this.#log = log
    this.#table = new BlockTable(index.blockCount)
    this.#files = new SegmentFiles(options.cacheDir)
    this.#served = options.rw === undefined ? options.directory : join(prepareRuntimeDir(), `lower-${this.#id}`)
    if (options.traceFile !== undefined) this.#trace.start(options.traceFile)
    this.#fd = openDevice()
    this.#fetch = new FetchClient(fetchThreadUrl(), this.#fetchData(), log)
  }

  async run(): Promise<number> {
    const { directory, rw, suid, dev, allowOther, archiveName, signal } = this.#options
    signal.throwIfAborted()
    if (rw !== undefined) mkdirSync(this.#served)
    mountDevice(this.#fd, {
      source: archiveName,
      subtype: MOUNT_TYPE.slice('fuse.'.length),
      directory: this.#served,
      suid,
      dev,
      allowOther,
    })
    const session = this.#session()
    const leave = (): void => void this.#unmount()
    signal.addEventListener('abort', leave)
    const housekeeping = setInterval(() => this.#housekeep(), HOUSEKEEP_EVERY_MS)
    try {
      await session.run()
    } finally {
      clearInterval(housekeeping)
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

  #session(): Session {
    const { passthrough, verifyAlways } = this.#options
    const tree = new Tree(this.#index)
    const reads = new CachedReads(this.#index, this.#table, this.#files)
    return new Session({
      fd: this.#fd,
      answers: new Answers(tree, reads, this.#fetch, verifyAlways),
      counters: this.#counters,
      wish: { posixAcl: this.#index.hasAcls, passthrough, idmap: true },
      log: this.#log,
      trace: this.#trace,
      openFiles: passthrough ? new OpenFiles(this.#fd, tree, this.#fetch, this.#log) : undefined,
      onInit: () => void this.#ready().catch((error: unknown) => this.#fail(error)),
      onInterrupt: (lo, hi) => this.#fetch.interrupt(lo, hi),
      // Pages of the index come back from the page cache when they are needed; until then they are not ours.
      onIdle: () => this.#index.release(),
    })
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
    this.#log.info('mounted', { directory, digest: this.#options.digest })
    onReady()
    this.#fetch.start()
  }

  async #makeWritable(): Promise<void> {
    const { directory, suid, dev } = this.#options
    const { mode, owner, owners, mtime } = this.#index
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
        mtime: ((mtime[0] ?? 0) >>> 0) + (mtime[1] ?? 0) * 2 ** 32,
      },
      suid,
      dev,
    })
    this.#overlaid = true
    await hideLower(this.#served)
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
    if (this.#overlaid) await umountAsync(this.#options.directory, MNT.DETACH)
    await umountAsync(this.#served, MNT.DETACH)
  }

  /** The user wants it gone. What is in use is detached, and served until its last user lets go; asked again, it is cut off. */
  async #unmount(): Promise<void> {
    const { directory } = this.#options
    const again = (): never => exitNow(130)
    process.on('SIGINT', again)
    process.on('SIGTERM', again)
    const busy = await umountAsync(directory, 0)
    if (busy === 0) return
    this.#log.warn('in use: it goes with its last user; ask again to cut him off', { directory })
    await umountAsync(directory, MNT.DETACH)
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
    return {
      id: this.#id,
      directory,
      archive: archiveName,
      digest,
      pid: process.pid,
      pidStart: processStart(process.pid) ?? 0,
      startedAt: new Date().toISOString(),
      cacheDir,
      rw: rw === undefined ? undefined : { upper: rw.upper, overlay },
      connection,
    }
  }

  #fetchData(): FetchThreadData {
    const {
      archiveName,
      indexPath,
      digest,
      stores,
      baseDir,
      cacheDir,
      cacheBytesMax,
      timeoutMs,
      verifyAlways,
      passthrough,
      logFile,
      directory,
      metrics,
    } = this.#options
    return {
      id: this.#id,
      directory,
      metrics,
      fd: this.#fd,
      table: this.#table.memory,
      counters: this.#counters.memory,
      trace: this.#trace.memory,
      archiveName,
      indexPath,
      digest,
      stores,
      baseDir,
      cacheDir,
      cacheBytesMax,
      timeoutMs,
      verifyAlways,
      passthrough,
      logFile,
      logLevel: this.#log.memory,
    }
  }
}

/** A thread's file keeps its ending: `.ts` in the source, `.js` when published. */
function fetchThreadUrl(): URL {
  return new URL(import.meta.url.endsWith('.ts') ? './fetch-thread.ts' : './fetch-thread.js', import.meta.url)
}
