import { readFileSync, readlinkSync } from 'node:fs'

/** Names one process of this machine for ever: a pid alone comes back, and means nothing in another pid namespace. */
export interface Identity {
  readonly bootId: string
  readonly pidNamespace: string
  readonly pid: number
  /** Start in clock ticks since boot, field 22 of `/proc/PID/stat`; '' where there is no /proc. */
  readonly start: string
}

export function thisProcess(): Identity {
  return {
    bootId: readText('/proc/sys/kernel/random/boot_id'),
    pidNamespace: readLink('/proc/self/ns/pid'),
    pid: process.pid,
    start: startOf(process.pid),
  }
}

/** True only when `other` surely does not run any more. A process of another pid namespace cannot be seen: it counts as alive. */
export function isGone(other: Identity, me: Identity): boolean {
  if (other.bootId !== me.bootId) return true
  if (other.pidNamespace !== me.pidNamespace) return false
  if (me.start === '') return !answersSignal(other.pid)
  return startOf(other.pid) !== other.start
}

function startOf(pid: number): string {
  const stat = readText(`/proc/${pid}/stat`)
  // The command's name is in parentheses and may hold any byte: fields are counted from the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  // A zombie was killed and only waits to be reaped.
  return fields[0] === 'Z' || fields[0] === 'X' ? '' : (fields[19] ?? '')
}

function answersSignal(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
