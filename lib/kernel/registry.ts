import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { bootId, describeError, isOtherBoot } from '../base/index.ts'
import { isOurType, type MountEntry, readMounts } from './mount-info.ts'
import { isAlive, type ProcessName, signalProcess } from './processes.ts'
import { replaceFile } from './replace-file.ts'
import { runtimeNames, prepareRuntimeDir, runtimeDir } from './runtime-dir.ts'
import { forgetStrays } from './strays.ts'

/** What a server writes down about a mount, for `list`, `stats` and `umount`: one file `<runtimeDir>/<id>.json` a mount. */
export interface MountRecord {
  /** Letters, digits, `-`, `_` and `.`; names the record and the control socket. */
  readonly id: string
  /** Where the user sees it, as the kernel says it (absolute, no links). */
  readonly directory: string
  /** As the user typed it, without secrets. */
  readonly archive: string
  /** SHA-256 of the archive, hex. */
  readonly digest: string
  readonly pid: number
  /** `processStart(pid)`. */
  readonly pidStart: number
  /** Whose processes and mounts these are (`bootId`). Undefined: an earlier version wrote it, and it is taken for this one's. */
  readonly boot?: string | undefined
  /** ISO 8601. */
  readonly startedAt: string
  readonly cacheDir: string
  /**
   * A writable mount: at `directory` stands an overlay with this device number's minor, and our own mount is seen only by
   * it. `upper` undefined: changes are thrown away.
   */
  readonly rw?: { readonly upper: string | undefined; readonly overlay: number } | undefined
  /** Minor number of the mount's device: the name of the connection under /sys/fs/fuse/connections. */
  readonly connection: number
  /** Starts the server again when it dies. */
  readonly supervisor?: ProcessName | undefined
  /** Holds the device, lives as long as the mount, and whoever ends it wants the mount gone. */
  readonly holder?: ProcessName | undefined
  /** The circumstances whose mounts share the server (`sharedKey`); undefined: it is this mount's alone. */
  readonly key?: string | undefined
  /** Ends with its server: libfuse holds its device (docs/decisions/173). */
  readonly driver?: 'fuse-native' | undefined
}

/**
 * - `mounted`: served. - `orphaned`: server and supervisor are gone, the device is held: whoever reads waits, and the next mount or
 * upgrade goes on with it. - `dead`: mounted, but the device is gone too. - `leaving`: unmounted, its users not yet gone.
 */
export type MountState = 'mounted' | 'orphaned' | 'dead' | 'leaving'

export interface MountListing extends MountRecord {
  readonly state: MountState
}

const ID = /^[\w.-]{1,64}$/

/** The server's control socket. Throws RangeError for an id that is none. */
export function controlSocketPath(id: string): string {
  return join(runtimeDir(), `${checkId(id)}.sock`)
}

/** The record of a mount. Throws RangeError for an id that is none. */
export function recordPath(id: string): string {
  return join(runtimeDir(), `${checkId(id)}.json`)
}

/** False once somebody has cleaned the folder. Throws RangeError for an id that is none. */
export function hasRecord(id: string): boolean {
  return existsSync(recordPath(id))
}

/** Writes the record. Call once mounted, before anyone is told. Throws FLIST_SYSTEM. */
export function registerMount(record: Omit<MountRecord, 'boot'>): void {
  prepareRuntimeDir()
  replaceFile(recordPath(record.id), `${JSON.stringify({ ...record, boot: bootId() })}\n`)
}

/** Takes the record, the control socket and what was left for a successor away. Idempotent. */
export function unregisterMount(id: string): void {
  const dir = runtimeDir()
  const stem = join(dir, checkId(id))
  rmSync(`${stem}.json`, { force: true })
  for (const kind of ['sock', 'state', 'opens', 'pending']) rmSync(`${stem}.${kind}`, { force: true })
  // What a server was writing when it was killed.
  const torn = existsSync(dir) ? readdirSync(dir).filter((name) => name.startsWith(`${id}.`)) : []
  for (const name of torn) if (name.endsWith('.tmp')) rmSync(join(dir, name), { force: true })
}

/** Where the changes of a writable mount go that are thrown away when it ends. */
export function passingChangesDir(cacheDir: string, id: string): string {
  return join(cacheDir, 'v1', 'rw', checkId(id))
}

/** What a server that died could not clean up: holder, record, control socket, and changes that nobody wanted to keep. Idempotent. */
export function forgetMount(record: MountRecord): void {
  // What has its number and its start after another boot is not its holder.
  if (record.holder !== undefined && !isOtherBoot(record.boot)) signalProcess(record.holder, 'SIGKILL')
  try {
    if (record.rw !== undefined && record.rw.upper === undefined) {
      rmSync(passingChangesDir(record.cacheDir, record.id), { recursive: true, force: true })
    }
  } finally {
    unregisterMount(record.id)
  }
}

/** All our mounts, oldest first. What is left of others, of those before the last boot too, is removed. */
export function listMounts(mounts: readonly MountEntry[] = readMounts()): MountListing[] {
  const listings: MountListing[] = []
  forgetLeftOvers()
  const records = readRecords().toSorted((a, b) => (a.startedAt < b.startedAt ? -1 : 1))
  const youngest = new Map(records.map((record) => [placeOf(record), record]))
  for (const record of records) {
    const state = stateOf(record, youngest.get(placeOf(record)) === record ? mounts : [])
    if (state === undefined) forgetMount(record)
    else listings.push({ ...record, state })
  }
  return listings
}

/** A mount by what is told of it. The kernel gives the number of one that has gone to the next: that of two records is the younger's. */
function placeOf({ directory, connection, rw }: MountRecord): string {
  return JSON.stringify([directory, rw === undefined ? connection : -1, rw?.overlay ?? -1])
}

/** A process that has a key, as it is written down. */
export interface KeyOwner extends ProcessName {
  readonly boot?: string | undefined
}

/** Who has a key (shared-server.ts): the server, then its supervisor. Nobody where they were of another boot. */
export function ownersOfKey(path: string): KeyOwner[] {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return Array.isArray(value) ? (value as KeyOwner[]).filter(({ boot }) => !isOtherBoot(boot)) : []
  } catch {
    return []
  }
}

/** What processes that were killed left: keys, and files that no record names. */
function forgetLeftOvers(): void {
  const dir = runtimeDir()
  const names = runtimeNames(dir)
  forgetStrays(dir, names, (id) => existsSync(join(dir, `${id}.json`)))
  for (const name of names) {
    const [, key] = /^(\w+)\.server$/.exec(name) ?? []
    if (key === undefined || ownersOfKey(join(dir, name)).some(isAlive)) continue
    for (const kind of ['server', 'join']) rmSync(join(dir, `${key}.${kind}`), { force: true })
  }
}

/** True for the mount of a record: ours, or the overlay on ours. */
export function isMountOf(entry: MountEntry, record: MountRecord): boolean {
  if (entry.directory !== record.directory) return false
  if (record.rw !== undefined) return entry.type === 'overlay' && entry.minor === record.rw.overlay
  return isOurType(entry.type) && entry.minor === record.connection
}

/** The process that ends with the mount: its holder; where it has none the supervisor, or a server without one. */
export function lastProcess(record: MountRecord): ProcessName {
  return record.holder ?? record.supervisor ?? record
}

/** Somebody serves the mount, or will in a moment. */
export function isServed(record: MountRecord): boolean {
  return isAlive(record) || (record.supervisor !== undefined && isAlive(record.supervisor))
}

/** The records of the mounts that a supervisor keeps, oldest first. */
export function recordsOf(supervisor: ProcessName): MountRecord[] {
  return readRecords().filter(
    (record) => record.supervisor?.pid === supervisor.pid && record.supervisor.pidStart === supervisor.pidStart,
  )
}

/** The record of this id, whether or not anything of its mount is left. */
export function recordNamed(id: string): MountRecord | undefined {
  const record = ID.test(id) ? readRecord(join(runtimeDir(), `${id}.json`), id) : undefined
  return isOtherBoot(record?.boot) ? undefined : record
}

function stateOf(record: MountRecord, mounts: readonly MountEntry[]): MountState | undefined {
  const served = isServed(record)
  const mounted = mounts.some((entry) => isMountOf(entry, record))
  if (!mounted) return served ? 'leaving' : undefined
  if (served) return 'mounted'
  return record.holder !== undefined && isAlive(record.holder) ? 'orphaned' : 'dead'
}

/** Those of this boot; of another nothing is left, and what they say of processes and mounts is not true now. */
function readRecords(): MountRecord[] {
  const dir = runtimeDir()
  const records: MountRecord[] = []
  for (const name of runtimeNames(dir)) {
    if (!name.endsWith('.json')) continue
    const record = readRecord(join(dir, name), name.slice(0, -'.json'.length))
    if (isOtherBoot(record?.boot)) forgetElder(record)
    else if (record) records.push(record)
  }
  return records
}

function forgetElder(record: MountRecord | undefined): void {
  try {
    if (record !== undefined) forgetMount(record)
  } catch (error) {
    // Its cache may be on a disk that is read-only now. The record has gone, and nobody else's mount is to suffer.
    process.emitWarning(`Cannot remove what a mount left before the last boot: ${describeError(error)}`)
  }
}

function readRecord(path: string, id: string): MountRecord | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
    return isRecord(value) && value.id === id && ID.test(id) ? value : undefined
  } catch {
    // Being written by another version, or being removed at this moment.
    return undefined
  }
}

function isRecord(value: unknown): value is MountRecord {
  if (typeof value !== 'object' || value === null) return false
  const texts: unknown[] = ['id', 'directory', 'archive', 'digest', 'startedAt', 'cacheDir'].map((key) =>
    Reflect.get(value, key),
  )
  const numbers: unknown[] = ['pid', 'pidStart', 'connection'].map((key) => Reflect.get(value, key))
  return texts.every((text) => typeof text === 'string') && numbers.every((number) => Number.isSafeInteger(number))
}

function checkId(id: string): string {
  if (!ID.test(id) || id.startsWith('.')) throw new RangeError(`"${id}" is not the id of a mount`)
  return id
}
