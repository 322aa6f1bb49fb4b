import { readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { describeError, ERRNO, errnoName, FlistError } from '../base/index.ts'
import { MNT, mount } from '../system/index.ts'
import { takeAway } from './device-user.ts'
import { MOUNT_TYPE, type MountEntry, readMounts } from './mount-info.ts'
import { hintInstead, mountNamed } from './mount-names.ts'
import { findUsers, type MountUsers, nameUsers, NOBODY } from './mount-users.ts'
import { isAlive, signalProcess, waitForEnd } from './processes.ts'
import { forgetMount, isMountOf, isServed, lastProcess, listMounts, type MountListing } from './registry.ts'

export interface UnmountOptions {
  /** Leave the tree at once; the server ends with its last user. */
  readonly lazy: boolean
  /** Abort the connection, so that waiting readers get an error, then leave the tree at once. */
  readonly force: boolean
}

export interface UnmountResult {
  readonly directory: string
  /** False: the server still serves files that are open (`--lazy`), or another mount namespace, such as a container's. */
  readonly ended: boolean
  /** What stood on it and was left there, with `lazy` and `force`: served on, or cut off where nobody serves it now. */
  readonly users: MountUsers
}

/** Milliseconds a server may take to leave: it ends fetches, closes its cache and goes. */
const LEAVE_MS = 30_000
/** Milliseconds after which it is asked whether others have the mount too. */
const SOON_MS = 1_000
const FUSECTL = '/sys/fs/fuse/connections'

/** What stands at a directory: our own mount, or the overlay of a writable one, which keeps ours alive. */
interface Found {
  readonly entry: MountEntry
  /** Number of the connection under fusectl. */
  readonly connection: number
  readonly record: MountListing | undefined
}

/**
 * Takes a mount away, the overlay of a writable one too, and waits until its server has ended. Works on a mount whose server is
 * dead or hangs: it never touches the directory itself. Throws FLIST_NOT_MOUNTED (for a path inside, too), FLIST_MOUNT_FAILED (busy),
 * FLIST_NOT_PERMITTED.
 */
export async function unmount(name: string, options: UnmountOptions, signal: AbortSignal): Promise<UnmountResult> {
  const { entry, connection, record } = await findMount(name)
  const leaves = options.lazy || options.force
  const users = leaves ? findUsers(entry, record?.state === 'dead') : NOBODY
  if (options.force) abortConnection(connection)
  await takeTree(entry, leaves ? MNT.DETACH : 0, record?.state === 'dead')
  const ended = await waitForServer(record, options, signal)
  return { directory: entry.directory, ended, users }
}

async function findMount(name: string): Promise<Found> {
  const mounts = readMounts()
  const top = await mountNamed(mounts, name)
  if (top === undefined) throw notOurs(mounts, name, 'nothing is mounted there')
  const record = listMounts(mounts).find((listing) => isMountOf(top, listing))
  // An overlay that no record of ours names is somebody else's, even over our mount.
  if (record === undefined && top.type !== MOUNT_TYPE)
    throw notOurs(mounts, name, `the ${top.type} mounted there is not ours`)
  return { entry: top, connection: record?.connection ?? top.minor, record }
}

function notOurs(mounts: readonly MountEntry[], name: string, why: string): FlistError {
  return new FlistError('FLIST_NOT_MOUNTED', `Cannot unmount "${name}": ${why}`, {
    hint: hintInstead(mounts, name),
  })
}

function isStillThere(entry: MountEntry): boolean {
  return readMounts().some((now) => now.id === entry.id && now.directory === entry.directory)
}

async function takeTree(entry: MountEntry, flags: number, isDead: boolean): Promise<void> {
  const errno = await takeAway(entry.directory, flags)
  if (errno === 0 || !isStillThere(entry)) return
  if (errno === ERRNO.EBUSY) throw inUse(entry, isDead)
  const message = `Cannot unmount "${entry.directory}": ${errnoName(errno)}`
  if (errno !== ERRNO.EPERM) throw new FlistError('FLIST_MOUNT_FAILED', message)
  throw new FlistError('FLIST_NOT_PERMITTED', message, { hint: 'Run this as the user who mounted it, or as root' })
}

function inUse(entry: MountEntry, isDead: boolean): FlistError {
  const users = nameUsers(findUsers(entry, isDead))
  const by = users === '' ? '' : ` by ${users}`
  const dead = isDead ? 'it is dead, and ' : 'it is '
  return new FlistError('FLIST_MOUNT_FAILED', `Cannot unmount "${entry.directory}": ${dead}in use${by}`, {
    // Another user's process, or the kernel: a loop device, a swap file.
    hint: `End what uses it${by === '' ? ' (root sees it: `fuser -vm DIR`)' : ''}, or leave the tree at once with --lazy`,
  })
}

/**
 * Clears a folder whose mount of ours is dead, its server and whoever held its device gone. Returns what stood on it and is cut off;
 * undefined where something else stands there. `mounts` are those of now. `isDisconnected`: it said so itself, and without a record its
 * type tells whose it is.
 */
export async function clearDead(
  mounts: readonly MountEntry[],
  directory: string,
  isDisconnected: boolean,
): Promise<MountUsers | undefined> {
  const top = await mountNamed(mounts, directory)
  if (top === undefined) return undefined
  const record = listMounts(mounts).find((listing) => isMountOf(top, listing))
  if (record === undefined ? !isDisconnected || top.type !== MOUNT_TYPE : record.state !== 'dead') return undefined
  const users = findUsers(top, true)
  await takeTree(top, MNT.DETACH, true)
  if (record !== undefined) forgetMount(record)
  return users
}

/** Every waiting request fails at once, and every later one. */
export function abortConnection(connection: number): void {
  const path = `${FUSECTL}/${connection}/abort`
  try {
    if (readdirSync(FUSECTL).length === 0) mount('none', FUSECTL, 'fusectl', 0, '')
    writeFileSync(path, '1')
  } catch (error) {
    // Detaching still frees the tree; the server is ended below by its pid.
    process.emitWarning(`Cannot abort connection ${connection}: ${describeError(error)}`)
  }
}

async function waitForServer(
  record: MountListing | undefined,
  options: UnmountOptions,
  signal: AbortSignal,
): Promise<boolean> {
  if (record === undefined) return true
  const last = lastProcess(record)
  // Nobody is there to end its holder.
  if (!isServed(record)) return forget(record)
  if (options.lazy && !options.force) return !isAlive(last)
  if (await waitForEnd(last, SOON_MS, signal)) return forget(record)
  // A container that was started meanwhile has it in its own tree: that is nothing to wait for.
  if (!options.force && seenElsewhere(record.connection)) return false
  if (await waitForEnd(last, LEAVE_MS, signal)) return forget(record)
  if (options.force) {
    // A supervisor starts it again, which sees that the device is gone, and goes on with the other mounts.
    signalProcess(listMounts().find((now) => now.id === record.id) ?? record, 'SIGKILL')
    if (await waitForEnd(last, LEAVE_MS, signal)) return forget(record)
  }
  throw new FlistError(
    'FLIST_TIMEOUT',
    `Cannot see the server of "${record.directory}" end: process ${last.pid} is still there`,
    {
      hint: `It is unmounted; end its process with \`kill ${last.pid}\``,
    },
  )
}

/** Whether a process in another mount namespace has this connection's mount in its tree. */
function seenElsewhere(connection: number): boolean {
  const seen = new Set<string>()
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue
    try {
      const namespace = readlinkSync(`/proc/${pid}/ns/mnt`)
      if (seen.has(namespace)) continue
      seen.add(namespace)
      if (readMounts(`/proc/${pid}/mountinfo`).some(({ minor }) => minor === connection)) return true
    } catch {
      // It has ended, or is another user's.
    }
  }
  return false
}

/** It is unmounted: what cannot be removed now is no matter of that. */
function forget(record: MountListing): true {
  try {
    forgetMount(record)
  } catch (error) {
    process.emitWarning(`Cannot remove what the mount left: ${describeError(error)}`)
  }
  return true
}
