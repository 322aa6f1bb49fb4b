import { closeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { describeError, FlistError, type Log, openAtEnd } from '../base/index.ts'
import { type FlistIndex, openIndex } from '../flist/index.ts'
import {
  claimOrphan,
  claimServer,
  endServer,
  forgetMount,
  type Held,
  heldBy,
  heldDevice,
  isAlive,
  isMountOf,
  listMounts,
  loadState,
  type MountListing,
  type MountRecord,
  openDevice,
  ownHolder,
  type ProcessName,
  readMounts,
  recordsOf,
  releaseServer,
  returnDevice,
  type ServeWords,
  sharedKey,
  supervisorName,
  takeAway,
  takeDevice,
} from '../kernel/index.ts'
import { MNT } from '../system/index.ts'
import { tellSupervisor } from './background.ts'
import { JoinDoor } from './join-door.ts'
import { type MountPlan, openLog } from './mount-plan.ts'
import { openAgain } from './open-index.ts'
import type { Legacy, ServedMount } from './served-mount.ts'
import { Server } from './server.ts'

/** Milliseconds between tries to go on with a mount whose archive or index is not there now. */
const TRY_EVERY_MS = 1_000
const ALONE = 'other mounts need servers of their own'

/** What a dead server left of one mount. */
interface Estate {
  readonly record: MountRecord
  readonly plan: MountPlan
  /** Of a mount that was another supervisor's. */
  readonly claim: Disposable | undefined
}

/**
 * Goes on with the mounts whose server died, for the supervisor that started both: nothing is mounted anew, and the kernel repeats
 * what was not answered. A mount that cannot be gone on with now stands in no other's way.
 */
export async function resumeMounts(signal: AbortSignal): Promise<number> {
  const parent = supervisorName()
  const known = new Set<string>()
  const take = (): Estate[] => estates(parent).filter(({ record }) => !known.has(record.id))
  const first = take()
  const [{ record } = { record: undefined }] = first
  // The last mount ended as its server did.
  if (record === undefined || parent === undefined) return 0
  const server = new Server(record.key === undefined ? undefined : sharedKey(record.cacheDir), record.cacheDir)
  server.await()
  const heirs = new Heirs(server, signal)
  for (const estate of first) {
    known.add(estate.record.id)
    heirs.prepare(estate)
  }
  const old = process.env['FLISTFS_TAKEOVER']
  // All is ready: readers wait from here on only.
  if (old !== undefined) await endServer(Number(old))
  // Mounts that it took meanwhile.
  for (const estate of take()) heirs.prepare(estate)
  heirs.begin()
  const running = server.run(signal)
  tellSupervisor(parent.pid)
  await heirs.register(old === undefined ? `it died (${process.env['FLISTFS_DIED'] ?? ''})` : 'it was replaced')
  if (server.key !== undefined && claims(server, server.key)) await shareServer(server, server.key, signal)
  server.arrived()
  return running
}

/** Its own mounts stand, whoever may come. */
function claims(server: Server, key: string): boolean {
  try {
    return claimServer(key)
  } catch (error) {
    server.warn(ALONE, error)
    return false
  }
}

/**
 * Lets other mounts come to a server that has the key, and goes on with those that nobody serves. Its own mounts stand and were told
 * of: what goes wrong here is logged, and takes none of them away.
 */
export async function shareServer(server: Server, key: string, signal: AbortSignal): Promise<void> {
  try {
    server.open(await JoinDoor.open(server, key))
  } catch (error) {
    releaseServer(key)
    server.warn(ALONE, error)
    return
  }
  await adoptOrphans(server, key, signal).catch((error: unknown) => {
    server.warn('mounts that have lost their server are left so', error)
  })
}

/** Goes on with mounts of these circumstances whose server and supervisor are both gone, and whose device is still held. */
async function adoptOrphans(server: Server, key: string, signal: AbortSignal): Promise<void> {
  const heirs = new Heirs(server, signal)
  for (const estate of orphans((listing) => listing.key === key)) heirs.prepare(estate)
  heirs.begin()
  await heirs.register('its supervisor died too')
}

/** What the servers of a supervisor left, or what FLISTFS_ADOPT names. */
function estates(parent: ProcessName | undefined): Estate[] {
  if (parent === undefined) return []
  const own = recordsOf(parent)
  const adopted = process.env['FLISTFS_ADOPT']
  return [...own.map((record) => estateOf(record)), ...orphans(({ id }) => id === adopted)].filter(
    (one) => one !== undefined,
  )
}

/** What nobody serves, and is this process's to go on with now. */
function orphans(isMeant: (listing: MountListing) => boolean): Estate[] {
  const found: Estate[] = []
  for (const listing of listMounts()) {
    if (listing.state !== 'orphaned' || !isMeant(listing)) continue
    const claim = claimOrphan(listing.id)
    if (claim === undefined) continue
    const { state: _state, ...record } = listing
    const estate = estateOf(record, claim)
    if (estate === undefined) claim[Symbol.dispose]()
    else found.push(estate)
  }
  return found
}

function estateOf(record: MountRecord, claim?: Disposable): Estate | undefined {
  // Its device ended with the server.
  if (record.driver !== undefined) return undefined
  const legacy = loadState(record.id, 'state') as Legacy | undefined
  if (legacy === undefined) return undefined
  const { id, startedAt, holder } = record
  const { options, served, checked } = legacy
  return { record, plan: { id, startedAt, words: writable(options), served, checked, holder }, claim }
}

/** The words without files that cannot be written now: a mount that says nothing is better than none. */
function writable(words: ServeWords): ServeWords {
  const { traceFile } = words
  const canLog = succeeds(() => openLog(words).close())
  const canTrace = traceFile === undefined || succeeds(() => closeSync(openAtEnd(traceFile, 0o600)))
  return { ...words, ...(canLog ? {} : { logFile: undefined }), ...(canTrace ? {} : { traceFile: undefined }) }
}

function succeeds(work: () => void): boolean {
  try {
    work()
    return true
  } catch {
    return false
  }
}

/** The device of a mount: inherited from our supervisor, or taken from its holder. */
function deviceOf(holder: MountRecord['holder']): Held | undefined {
  const mine = ownHolder()
  if (heldDevice() !== undefined && (holder === undefined || holder.pid === mine?.pid))
    return heldBy(holder, openDevice())
  return holder === undefined ? undefined : takeDevice(holder)
}

class Heirs {
  readonly #server: Server
  readonly #signal: AbortSignal
  readonly #ready: { mount: ServedMount; estate: Estate }[] = []
  /** Those that cannot be gone on with as they are. */
  readonly #late: Estate[] = []

  constructor(server: Server, signal: AbortSignal) {
    this.#server = server
    this.#signal = signal
  }

  /** What can be done before the old server is gone. */
  prepare(estate: Estate | undefined): void {
    if (estate === undefined) return
    try {
      const { indexPath, digest } = estate.plan.words
      this.#take(estate, openIndex(indexPath, digest))
    } catch {
      if (this.#server.await()) this.#late.push(estate)
      else estate.claim?.[Symbol.dispose]()
    }
  }

  /** Serves all that is ready, and makes the rest ready meanwhile: now the old server is gone. */
  begin(): void {
    for (const { mount, estate } of this.#ready) {
      const { record } = estate
      mount.stands({ connection: record.connection, overlay: record.rw?.overlay ?? -1 })
      this.#server.inherit(mount)
      // All were asked to go before this one came.
      if (this.#signal.aborted) void mount.leave()
    }
    for (const estate of this.#late.splice(0)) {
      const log = openLog(estate.plan.words)
      void this.#untilReady(estate, log).finally(() => {
        log.close()
        this.#server.arrived()
      })
    }
  }

  /** Writes down that this process serves them, while it does. A mount that cannot be written down is served all the same. */
  async register(why: string): Promise<void> {
    for (const { mount, estate } of this.#ready.splice(0)) {
      await new Promise(setImmediate)
      if (!this.#server.has(mount)) continue
      try {
        if (mount.place !== undefined) mount.register(mount.place)
        estate.claim?.[Symbol.dispose]()
      } catch (error) {
        mount.log.error('cannot write down who serves it', { error: describeError(error) })
      }
      mount.log.warn('another server goes on', { directory: mount.plan.words.directory, why })
      mount.fetch.start()
    }
  }

  #take(estate: Estate, index: FlistIndex): void {
    const { record, plan } = estate
    const held = deviceOf(record.holder)
    if (held === undefined) {
      index.close()
      if (record.holder !== undefined && isAlive(record.holder)) {
        throw new FlistError('FLIST_NOT_PERMITTED', `Cannot take the device of "${record.directory}" from its holder`)
      }
      // Whoever ended it wants the mount gone.
      void takeAway(record.directory, MNT.DETACH).then(() => this.#forget(estate))
      return
    }
    try {
      this.#ready.push({ mount: this.#server.prepare(plan, held, index), estate })
    } catch (error) {
      returnDevice(held)
      throw error
    }
  }

  /** Tries until it comes to something: first of all the index is made again, if that is what it lacks. */
  async #untilReady(estate: Estate, log: Log): Promise<void> {
    const { record, plan } = estate
    const heirs = new Heirs(this.#server, this.#signal)
    for (;;) {
      if (!readMounts().some((entry) => isMountOf(entry, record))) return this.#forget(estate)
      if (this.#signal.aborted) {
        // Where it cannot be taken away it is left to others.
        if ((await takeAway(record.directory, MNT.DETACH)) === 0) this.#forget(estate)
        return
      }
      try {
        heirs.#take(estate, await openAgain(plan.words))
        break
      } catch (error) {
        log.error('no server can go on for now', { directory: record.directory, error: describeError(error) })
      }
      await sleep(TRY_EVERY_MS, undefined, { signal: this.#signal }).catch(() => undefined)
    }
    heirs.begin()
    await heirs.register('what it lacked is back')
  }

  /** Of a mount that is gone. What is left of it on a disk that is read-only now is no matter of those that are served. */
  #forget({ record, claim }: Estate): void {
    claim?.[Symbol.dispose]()
    try {
      forgetMount(record)
    } catch (error) {
      this.#server.warn('cannot remove what a mount left', error)
    }
  }
}
