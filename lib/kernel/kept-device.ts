import { closeSync, realpathSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { FlistError } from '../base/index.ts'
import { adopt, MNT, notifyManager } from '../system/index.ts'
import { takeAway } from './device-user.ts'
import { readMounts } from './mount-info.ts'
import { signalProcess, waitForEnd } from './processes.ts'
import { forgetMount, isMountOf, type MountRecord, recordNamed } from './registry.ts'
import { abortConnection } from './unmount.ts'

/*
 * A mount lives as long as somebody has its device open. A service manager may be one who has: systemd's descriptor store
 * keeps it while the service is down, and gives it back to the next start (docs/systemd.md).
 */

/** A mount that stands, whose servers have ended: its device, and what was written down about it. */
export interface KeptDevice {
  readonly fd: number
  readonly record: MountRecord
}

const PREFIX = 'flistfs-'
/** The first descriptor that a manager hands over, by sd_listen_fds(3). */
const FIRST_FD = 3
/** Milliseconds a process that was killed may take to end. */
const END_MS = 30_000

/** True where our service manager keeps descriptors: the unit says so, because no answer of the manager would. */
function isKeeper(): boolean {
  return process.env['FLISTFS_FDSTORE'] === '1'
}

/** True where a service manager gave devices back. */
export function isKept(): boolean {
  return process.env['FLISTFS_KEPT'] !== undefined
}

/** Gives the device of a mount to the service manager to keep. Returns why it could not be said; undefined where all is well. */
export function keepDevice(id: string, fd: number): string | undefined {
  if (!isKeeper()) return undefined
  // The manager would poll it, to see it end, and every request of the kernel would wake it.
  return notifyManager(['FDSTORE=1', `FDNAME=${PREFIX}${id}`, 'FDPOLL=0'], [fd])
}

/** The mount is gone: so should be its device. */
export function letGoOfDevice(id: string): void {
  if (isKeeper()) notifyManager(['FDSTOREREMOVE=1', `FDNAME=${PREFIX}${id}`])
}

/**
 * The device of the mount on this folder, where the service manager gave it back. Its old server and supervisor are ended, should
 * they still run. What was kept for other mounts is let go of. Throws FLIST_TIMEOUT. Never touches the folder: nobody serves it.
 */
export async function takeKept(directory: string, signal: AbortSignal): Promise<KeptDevice | undefined> {
  const at = nameOf(directory)
  let taken: KeptDevice | undefined
  for (const [nth, name] of keptNames().entries()) {
    const fd = FIRST_FD + nth
    const record = name.startsWith(PREFIX) ? recordNamed(name.slice(PREFIX.length)) : undefined
    const stands = record !== undefined && readMounts().some((entry) => isMountOf(entry, record))
    // The supervisor holds the first for a mount.
    if (stands && record.directory === at && nth === 0) {
      taken = { fd, record }
      continue
    }
    notifyManager(['FDSTOREREMOVE=1', `FDNAME=${name}`])
    if (stands && record.directory === at) abortConnection(record.connection)
    closeSync(fd)
  }
  if (taken === undefined) return undefined
  await endServers(taken.record, signal)
  adopt(taken.fd)
  return taken
}

/** Takes a mount away that nobody will go on with: who waits for it gets an error. */
export async function endKept({ fd, record }: KeptDevice): Promise<void> {
  abortConnection(record.connection)
  await takeAway(record.directory, MNT.DETACH)
  letGoOfDevice(record.id)
  closeSync(fd)
  forgetMount(record)
}

/** As bin/supervise has them of the manager, in the order of their numbers. */
function keptNames(): readonly string[] {
  return process.env['FLISTFS_KEPT']?.split(':') ?? []
}

/** As the kernel names it, without asking for the folder itself. */
function nameOf(directory: string): string {
  const path = resolve(directory)
  try {
    return join(realpathSync(dirname(path)), basename(path))
  } catch {
    return path
  }
}

/** Two servers would take each other's requests. */
async function endServers(record: MountRecord, signal: AbortSignal): Promise<void> {
  // The supervisor first: it would start another.
  for (const process of record.supervisor === undefined ? [record] : [record.supervisor, record]) {
    signalProcess(process, 'SIGKILL')
    if (await waitForEnd(process, END_MS, signal)) continue
    throw new FlistError(
      'FLIST_TIMEOUT',
      `Cannot go on with the mount on "${record.directory}": its server, process ${process.pid}, does not end`,
      { hint: `See what it waits for: cat /proc/${process.pid}/stack` },
    )
  }
}
