import { errnoName, LIMITS } from '../base/index.ts'
import { sendDatagram } from './libc.ts'

/** True where a service manager listens (sd_notify(3)). */
export function isNotified(): boolean {
  return Boolean(process.env['NOTIFY_SOCKET'])
}

/**
 * Tells the service manager of $NOTIFY_SOCKET: `READY=1`, `STATUS=…`, `WATCHDOG=1`; `FDSTORE=1` and `FDNAME=…` keep the
 * descriptors in its store. Returns undefined where it was said or nobody listens, else why it could not be said: a mount
 * does not end because its manager cannot hear.
 */
export function notifyManager(state: readonly string[], fds: readonly number[] = []): string | undefined {
  const socket = process.env['NOTIFY_SOCKET']
  if (!socket) return undefined
  // `@name` is an abstract socket, whose name starts with a zero byte. Others (vsock:) are for virtual machines.
  const address = Buffer.from(socket.startsWith('@') ? `\0${socket.slice(1)}` : socket)
  if ((address[0] !== 0 && address[0] !== 0x2f) || address.length > LIMITS.socketPathBytesMax) {
    return `"${socket}" is no address of a unix socket`
  }
  const number = sendDatagram(address, Buffer.from(state.join('\n')), fds)
  return number === 0 ? undefined : `"${socket}": ${errnoName(number)}`
}

/** How often the manager wants to hear `WATCHDOG=1`, at least, in milliseconds: half of what it waits. Undefined: never. */
export function watchdogEveryMs(): number | undefined {
  const microseconds = Number(process.env['WATCHDOG_USEC'] ?? '')
  // Our supervisor's watchdog is ours; that of a service which merely started us would be kept quiet.
  const pid = Number(process.env['WATCHDOG_PID'] ?? process.pid)
  const watched = pid === process.pid || pid === process.ppid
  return watched && microseconds > 0 && isNotified() ? Math.max(1, Math.floor(microseconds / 2000)) : undefined
}
