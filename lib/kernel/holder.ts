import { closeSync, openSync } from 'node:fs'
import { adopt, killProcess, openProcess, redirect, takeDescriptor } from '../system/index.ts'
import { heldDevice, supervisor } from './device.ts'
import { isAlive, type ProcessName, processStart } from './processes.ts'

/** The device's number in a holder: bin/supervise opens it so. */
const DEVICE_FD = 3

/** The process that holds this mount's device while it lives: bin/supervise names it. Undefined where there is none. */
export function ownHolder(): ProcessName | undefined {
  const pid = Number(process.env['FLISTFS_HOLDER'] ?? '')
  const pidStart = supervisor() === undefined || !(pid > 1) ? undefined : processStart(pid)
  return pidStart === undefined ? undefined : { pid, pidStart }
}

/** A holder as a server has it. */
export interface Held {
  /** Means the holder, and is readable once it has ended: whoever ends it wants the mount gone. -1: it is our supervisor, or none. */
  readonly pidfd: number
  /** The device. */
  readonly fd: number
}

/** A device that this process has by itself, and the holder that has it too. */
export function heldBy(holder: ProcessName | undefined, fd: number): Held {
  const isOther = holder !== undefined && holder.pid !== supervisor() && isAlive(holder)
  return { fd, pidfd: isOther ? openProcess(holder.pid) : -1 }
}

/**
 * Takes the device out of its holder, pidfd_getfd(2). Undefined where the holder is gone, or this process may not (yama lets a
 * user take from his own children only).
 */
export function takeDevice(holder: ProcessName): Held | undefined {
  const pidfd = openProcess(holder.pid)
  if (pidfd < 0) return undefined
  const fd = isAlive(holder) ? takeDescriptor(pidfd, DEVICE_FD) : -1
  if (fd < 0) {
    closeSync(pidfd)
    return undefined
  }
  adopt(fd)
  return { pidfd, fd }
}

/** Whether a server could take the device of our own holder: it has the rights that we have. */
export function mayShare(holder: ProcessName): boolean {
  const held = takeDevice(holder)
  if (held === undefined) return false
  returnDevice(held)
  return true
}

/** Lets go of a device that is not served after all. Its holder keeps it, and so does this process what it got from its supervisor. */
export function returnDevice({ pidfd, fd }: Held): void {
  if (fd !== heldDevice()) closeSync(fd)
  if (pidfd >= 0) closeSync(pidfd)
}

/**
 * Lets go of a device, and ends its holder. `isUsed`: a thread that hangs may write to it yet, and must not meet another file at its
 * number.
 */
export function endHolder({ pidfd, fd }: Held, isUsed = false): void {
  if (isUsed) {
    const nowhere = openSync('/dev/null', 'w')
    redirect(fd, nowhere)
    closeSync(nowhere)
  } else closeSync(fd)
  if (pidfd < 0) return
  killProcess(pidfd)
  closeSync(pidfd)
}
