import { systemCall } from './libc.ts'

/** Of x86-64 and arm64 alike. */
const PIDFD_SEND_SIGNAL = 424
const PIDFD_OPEN = 434
const PIDFD_GETFD = 438
const SIGKILL = 9

/** pidfd_open(2): a descriptor that means this very process, and is readable once it has ended; -1 sets `errno()`. */
export function openProcess(pid: number): number {
  return systemCall(PIDFD_OPEN, pid, 0, 0, 0)
}

/**
 * pidfd_getfd(2): a duplicate of another process's descriptor, for whoever may trace that process; -1 sets `errno()`. No
 * program that we start inherits it.
 */
export function takeDescriptor(pidfd: number, fd: number): number {
  return systemCall(PIDFD_GETFD, pidfd, fd, 0, 0)
}

/** Ends the process that this descriptor means, never another that got its number. False where it has ended. */
export function killProcess(pidfd: number): boolean {
  return systemCall(PIDFD_SEND_SIGNAL, pidfd, SIGKILL, 0, 0) === 0
}
