import { describeError, FlistError, threadUrl } from '../base/index.ts'
import { openIndex } from '../flist/index.ts'
import {
  canResend,
  endHolder,
  FetchClient,
  type Held,
  isDeserted,
  makeFrames,
  releaseServer,
  requestResend,
  Session,
  signalProcess,
  supervisorName,
} from '../kernel/index.ts'
import { exitNow, notifyManager, watchdogEveryMs } from '../system/index.ts'
import { SegmentFiles } from '../vfs/index.ts'
import type { JoinDoor } from './join-door.ts'
import type { MountPlace, MountPlan } from './mount-plan.ts'
import { OwnProgram } from './own-program.ts'
import { ServedMount, type ServerShare } from './served-mount.ts'

/** Milliseconds. */
const HOUSEKEEP_EVERY_MS = 10_000
/** Milliseconds until the kernel has asked for INIT of a mount that stands. */
const INIT_MS = 30_000
/** Milliseconds from a mount to the start of its fetch thread, which also answers `stats`. */
const FETCH_AFTER_MS = 50
/** Milliseconds that another server has to come, before the supervisor is asked for one again. */
const SUCCEED_MS = 10_000

const FETCH_THREAD = threadUrl('fetch-thread', import.meta.url)
/** As it was when this was loaded: an archive may be fetched for minutes before there is a server. */
const PROGRAM = new OwnProgram(process.argv[1] ?? '', FETCH_THREAD)

/** The process that serves mounts: one, or all of the same circumstances. It ends with its last mount. */
export class Server implements ServerShare {
  readonly key: string | undefined
  readonly fetch = new FetchClient(FETCH_THREAD, () => PROGRAM.isReplaced && this.#handOver())
  readonly frames = makeFrames()
  readonly files: SegmentFiles
  readonly #session = new Session()
  readonly #mounts = new Set<ServedMount>()
  /** Mounts on their way in: the server waits for them. */
  #awaited = 0
  #ending = false
  #door: JoinDoor | undefined
  #failure: unknown
  /** A log of a mount that has gone lies on a disk that hangs. */
  #isLogStuck = false
  /** To unmount all. */
  #asked = false
  /** Looks in a row that found nobody but servers here. */
  #looksDeserted = 0
  /** When another server was asked for. */
  #succeededAt = -Infinity

  constructor(key: string | undefined, cacheDir: string) {
    this.key = key
    this.files = new SegmentFiles(cacheDir, true)
  }

  /** Keeps the server while a mount comes in. False where it is about to end: another server must take it. */
  await(): boolean {
    if (this.#ending) return false
    this.#awaited += 1
    return true
  }

  /** For the logs of all its mounts. */
  warn(message: string, error: unknown): void {
    for (const { log } of this.#mounts) log.warn(message, { error: describeError(error) })
  }

  /** The mount came in, or did not. */
  arrived(): void {
    this.#awaited -= 1
    // For bin/launch.ts: what a start needs has been compiled.
    ;(process as NodeJS.EventEmitter).emit('flistfs-serves')
    this.#endWithLast()
  }

  /** Makes all ready to serve a mount. Throws FLIST_INDEX_DAMAGED, FLIST_NOT_FOUND. */
  prepare(plan: MountPlan, held: Held, index = openIndex(plan.words.indexPath, plan.words.digest)): ServedMount {
    try {
      const mount: ServedMount = new ServedMount(plan, held, index, this, () => this.askAgain(mount))
      this.#mounts.add(mount)
      if (held.pidfd >= 0) this.#session.watch(held.pidfd, () => void mount.leave())
      return mount
    } catch (error) {
      index.close()
      throw error
    }
  }

  /** Serves a mount that was just made. Resolves when the kernel has our answer to INIT. Throws FLIST_TIMEOUT, FLIST_INTERRUPTED. */
  async begin(mount: ServedMount, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const stop = (): void => reject(new FlistError('FLIST_INTERRUPTED', 'Cannot finish: interrupted'))
    const timer = setTimeout(
      () => reject(new FlistError('FLIST_TIMEOUT', `Cannot mount: the kernel said nothing for ${INIT_MS} ms`)),
      INIT_MS,
    )
    signal.addEventListener('abort', stop)
    try {
      this.#session.add(mount.channel(false, resolve, () => void this.end(mount)))
      await promise
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
    }
  }

  /** Goes on with a mount that another server had: the kernel repeats what was not answered. */
  inherit(mount: ServedMount): void {
    this.askAgain(mount)
    this.#session.add(
      mount.channel(
        true,
        () => undefined,
        () => void this.end(mount),
      ),
    )
  }

  /** What was taken and not answered comes again: from the kernel, or from what is noted of it. */
  askAgain(mount: ServedMount): void {
    if (!canResend()) mount.fetch.readAgain()
    else if (!requestResend(mount.held.fd)) mount.log.warn('the kernel does not repeat what was not answered')
  }

  has(mount: ServedMount): boolean {
    return this.#mounts.has(mount)
  }

  /** The mount stands. */
  settle(mount: ServedMount, place: MountPlace): void {
    mount.register(place)
    const { directory, digest } = mount.plan.words
    mount.log.info('mounted', { directory, digest })
    // Its start takes milliseconds of this thread, and whoever waited for the mount looks at it first. A miss starts it at once.
    setTimeout(() => {
      if (this.#mounts.has(mount)) mount.fetch.start()
    }, FETCH_AFTER_MS)
    if (this.#asked) void mount.leave()
  }

  /** The mount has gone, or never came: frees what it had. The server ends with the last one. Idempotent. */
  async end(mount: ServedMount): Promise<void> {
    if (!this.#mounts.has(mount)) return
    this.#session.remove(mount.held.fd)
    if (mount.held.pidfd >= 0) this.#session.remove(mount.held.pidfd)
    this.#mounts.delete(mount)
    this.#awaited += 1
    try {
      // Nobody may join from here on, and who waits for the unmount finds the cache closed.
      if (this.#mounts.size === 0 && this.#awaited === 1) await this.#close()
      await mount.close()
      this.#isLogStuck ||= mount.log.isStuck
    } catch (error) {
      this.#failure ??= error
    } finally {
      this.arrived()
    }
  }

  /** Others may join from now on. */
  open(door: JoinDoor): void {
    this.#door = door
  }

  /** Serves until the last mount is gone, or all are asked to go by `signal`. */
  async run(signal: AbortSignal): Promise<number> {
    const leave = (): void => this.#leaveAll()
    signal.addEventListener('abort', leave)
    if (signal.aborted) leave()
    const everyMs = watchdogEveryMs()
    const live = (): unknown => notifyManager(['WATCHDOG=1'])
    // The server before this one may have said so long ago.
    if (everyMs !== undefined) live()
    const watchdog = everyMs === undefined ? undefined : setInterval(live, everyMs)
    const housekeeping = setInterval(() => this.#housekeep(), HOUSEKEEP_EVERY_MS)
    try {
      await this.#session.run()
    } finally {
      clearInterval(housekeeping)
      clearInterval(watchdog)
      signal.removeEventListener('abort', leave)
      this.files.close()
    }
    // process.exit() would wait for it too.
    if (this.fetch.isStuck || this.#isLogStuck) exitNow(this.#failure === undefined ? 0 : 1)
    if (this.#failure !== undefined) throw this.#failure
    return 0
  }

  /** Unmounts all; asked again, cuts off who still uses them. */
  #leaveAll(): void {
    const again = (): never => {
      for (const { held } of this.#mounts) endHolder(held)
      if (this.key !== undefined) releaseServer(this.key)
      exitNow(130)
    }
    process.on('SIGINT', again)
    process.on('SIGTERM', again)
    this.#asked = true
    for (const mount of this.#mounts) void mount.leave()
  }

  #endWithLast(): void {
    if (this.#mounts.size > 0 || this.#awaited > 0) return
    void this.#close().then(() => this.#session.end())
  }

  async #close(): Promise<void> {
    this.#ending = true
    if (this.key !== undefined) releaseServer(this.key)
    await this.#door?.close()
    await this.fetch.close()
  }

  /** Keeps records, lets go of evicted files, and tells what was read: eviction does not see this thread's reads. */
  #housekeep(): void {
    for (const mount of this.#mounts) {
      mount.trace.settle()
      mount.keepRecord()
    }
    this.files.releaseUnlinked()
    const used = this.files.takeUsed()
    if (used.length > 0) this.fetch.used(used)
    this.#leaveDeserted()
    void PROGRAM.hasSettled().then((is) => is && this.#handOver())
  }

  /** Whoever could see its mounts has gone: so do they. One look may have come between two programs. */
  #leaveDeserted(): void {
    try {
      this.#looksDeserted = isDeserted() ? this.#looksDeserted + 1 : 0
    } catch {
      // Its records cannot be read: they say nothing of who is here.
      return
    }
    if (this.#looksDeserted !== 2) return
    for (const mount of this.#mounts) {
      mount.log.info('nobody is left in its namespace', { directory: mount.plan.words.directory })
      void mount.leave()
    }
  }

  /** To the program that is on the disk now, as `flistfs upgrade` would. False where there is no supervisor to start it. */
  #handOver(): boolean {
    const parent = supervisorName()
    const now = performance.now()
    if (parent === undefined) return false
    if (now - this.#succeededAt < SUCCEED_MS) return true
    this.#succeededAt = now
    for (const { log } of this.#mounts) log.info('the files of the program were replaced: another server is to go on')
    return signalProcess(parent, 'SIGUSR2')
  }
}
