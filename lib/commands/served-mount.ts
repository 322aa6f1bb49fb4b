import { describeError, type Log } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import {
  Answers,
  canResend,
  type ChannelParts,
  Counters,
  endHolder,
  type FetchClient,
  type FetchMount,
  type Frames,
  hasRecord,
  type Held,
  letGoOfDevice,
  loadState,
  type MountRecord,
  OpenFiles,
  type OpensKeeper,
  PendingRequests,
  POSTED_BYTES,
  PostedReads,
  processNamed,
  readMounts,
  registerMount,
  returnDevice,
  saveState,
  supervisor,
  supervisorName,
  takeAway,
  topMount,
  Trace,
  unregisterMount,
} from '../kernel/index.ts'
import { MNT } from '../system/index.ts'
import { BlockTable, CachedReads, type SegmentFiles, Tree } from '../vfs/index.ts'
import type { FetchMountData } from './fetch-mount.ts'
import { leaveChanges, type MountPlace, type MountPlan, openLog } from './mount-plan.ts'

/** Milliseconds that the last line of a log may take to be written. */
const LOG_MS = 1_000

/** What the mounts of a server have together. */
export interface ServerShare {
  readonly fetch: FetchClient
  readonly frames: Frames
  readonly files: SegmentFiles
  /** Undefined: the server takes no other mount. */
  readonly key: string | undefined
}

/** What a server leaves for the one that comes after it, beside the record. */
export interface Legacy {
  readonly options: MountPlan['words']
  readonly served: string
  readonly checked: boolean
}

type Opens = ReturnType<OpensKeeper['load']>

/** One mount in the process that serves it, and all that it has there. */
export class ServedMount {
  readonly plan: MountPlan
  readonly held: Held
  readonly log: Log
  readonly index: FlistIndex
  readonly fetch: FetchMount
  readonly trace = new Trace()
  readonly #share: ServerShare
  readonly #table: BlockTable
  /** On a kernel that cannot repeat requests: what is not answered. */
  readonly #pending: PendingRequests | undefined
  readonly #counters = new Counters()
  #place: MountPlace | undefined
  /** Asked to leave before. */
  #asked = false
  /** Served: from then on the holder is the server's to end, and so is what is left of the mount. */
  #begun = false

  constructor(plan: MountPlan, held: Held, index: FlistIndex, share: ServerShare, onLost: () => void) {
    this.plan = plan
    this.held = held
    this.index = index
    this.#share = share
    this.log = openLog(plan.words)
    this.#table = new BlockTable(index.blockCount)
    if (plan.words.traceFile !== undefined) this.trace.start(plan.words.traceFile)
    this.#pending = canResend() ? undefined : new PendingRequests(plan.id)
    const { onError, timeoutMs } = plan.words
    const refuse = onError === 'wait' ? undefined : { fd: held.fd, afterMs: timeoutMs, cacheDir: plan.words.cacheDir }
    const memory = new SharedArrayBuffer(this.#pending === undefined ? POSTED_BYTES : 0)
    const posted = this.#pending?.reads ?? new PostedReads(memory)
    const asksAgain = this.#pending !== undefined
    const data = this.#fetchData(asksAgain ? 'file' : memory)
    this.fetch = share.fetch.add({ data, log: this.log, onLost, refuse, posted, asksAgain })
  }

  /** What the session thread needs to answer for it. */
  channel(isHeir: boolean, onInit: () => void, onEnd: () => void): ChannelParts {
    this.#begun = true
    const { index, log, trace, fetch, plan } = this
    const { passthrough, verifyAlways } = plan.words
    const { files, frames } = this.#share
    const tree = new Tree(index)
    const reads = new CachedReads(index, this.#table, files)
    return {
      fd: this.held.fd,
      answers: new Answers(tree, reads, fetch, verifyAlways, {
        ...frames,
        frame: this.#pending?.frame ?? frames.frame,
      }),
      pending: this.#pending,
      counters: this.#counters,
      wish: { posixAcl: index.hasAcls && plan.checked, passthrough, idmap: plan.checked },
      log,
      trace,
      openFiles: passthrough ? new OpenFiles(this.held.fd, tree, fetch, this.#opensKeeper(isHeir), log) : undefined,
      onInit,
      onInterrupt: (lo, hi) => fetch.interrupt(lo, hi),
      // Pages of the index come back from the page cache when they are needed; until then they are not ours.
      onIdle: () => index.release(),
      onEnd,
    }
  }

  /** It stands, and was told of. */
  get place(): MountPlace | undefined {
    return this.#place
  }

  /** For a mount that another server had: it is registered as that one's. */
  stands(place: MountPlace): void {
    this.#place = place
  }

  /** From now on it is seen by others, and a server after this one goes on with it. */
  register(place: MountPlace): void {
    this.#place = place
    registerMount(this.#record(place))
    if (supervisor() === undefined) return
    const { words, served, checked } = this.plan
    const known = loadState(this.plan.id, 'state') as Legacy | undefined
    // What was changed at run time stays changed.
    if (known === undefined) saveState(this.plan.id, 'state', { options: words, served, checked } satisfies Legacy)
  }

  /**
   * Writes its record again where somebody cleaned the folder of records, as tmpfiles.d does in /tmp: a server after this one would not
   * know of the mount.
   */
  keepRecord(): void {
    const { id, words } = this.plan
    if (this.#place === undefined || hasRecord(id)) return
    try {
      this.register(this.#place)
      this.log.warn('its record was removed: it is written again; upgrade to ask stats', { directory: words.directory })
    } catch (error) {
      this.log.debug('its record is gone', { error: describeError(error) })
    }
  }

  /** The user wants it gone. What is in use is detached, and served until its last user lets go. */
  async leave(): Promise<void> {
    if (this.#asked || !this.#isThere()) return
    this.#asked = true
    const { directory } = this.plan.words
    const busy = await takeAway(directory, 0)
    if (busy === 0) return
    this.log.warn('in use: it goes with its last user; ask again to cut him off', { directory })
    await takeAway(directory, MNT.DETACH)
  }

  /** What stands at its folder is this very mount, not one below or above it. */
  #isThere(): boolean {
    const { directory, rw } = this.plan.words
    const minor = topMount(readMounts(), directory)?.minor
    return minor !== undefined && minor === (rw === undefined ? this.#place?.connection : this.#place?.overlay)
  }

  /** Unmounted: frees all it had. The session does not know it any more. */
  async close(): Promise<void> {
    const { id, words } = this.plan
    await this.fetch.close()
    this.trace.stop()
    this.#pending?.close()
    this.index.close()
    if (!this.#begun) {
      // Whoever wanted it served may have waited too long, and does so himself.
      this.log.close()
      return returnDevice(this.held)
    }
    await leaveChanges(this.plan)
    this.log.beCareful()
    this.log.info('unmounted', { directory: words.directory })
    await this.log.settle(LOG_MS)
    this.log.close()
    // Whoever waits for the end of the mount waits for this. A holder without a record would stay for ever.
    endHolder(this.held, this.fetch.isStuck)
    unregisterMount(id)
    letGoOfDevice(id)
  }

  #opensKeeper(isHeir: boolean): OpensKeeper {
    const { id } = this.plan
    return {
      load: () => (isHeir ? ((loadState(id, 'opens') as Opens | undefined) ?? []) : []),
      save: (opens) => {
        try {
          saveState(id, 'opens', opens)
        } catch (error) {
          // The file is open all the same; only a server after this one does not know of it.
          this.log.warn('cannot write down which files are open', { error: describeError(error) })
        }
      },
    }
  }

  #record({ connection, overlay }: MountPlace): MountRecord {
    const { id, startedAt, words, holder } = this.plan
    const { directory, archiveName, digest, cacheDir, rw } = words
    return {
      id,
      directory,
      archive: archiveName,
      digest,
      ...processNamed(process.pid),
      startedAt,
      cacheDir,
      rw: rw === undefined ? undefined : { upper: rw.upper, overlay },
      connection,
      supervisor: supervisorName(),
      holder,
      key: this.#share.key,
    }
  }

  #fetchData(posted: SharedArrayBuffer | 'file'): FetchMountData {
    const { logLevel: _level, ...words } = this.plan.words
    return {
      ...words,
      id: this.plan.id,
      fd: this.held.fd,
      posted,
      table: this.#table.memory,
      counters: this.#counters.memory,
      trace: this.trace.memory,
      logLevel: this.log.memory,
    }
  }
}
