import { closeSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { bootId, isOtherBoot, systemCode, textOf } from '../base/index.ts'

/** Milliseconds after which a lock file without a word in it was left by a process that died making it. */
const EMPTY_LOCK_MS = 10_000

/** Takes the lock file at `path`: true when it is ours. One whose process is gone is cleared away. */
export function takeLock(path: string): boolean {
  clearStale(path)
  let fd: number
  try {
    fd = openSync(path, 'wx', 0o600)
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
  try {
    writeSync(fd, `${process.pid} ${startTime(process.pid)} ${bootId()}\n`)
  } finally {
    closeSync(fd)
  }
  return true
}

export function releaseLock(path: string): void {
  rmSync(path, { force: true })
}

function clearStale(path: string): void {
  const text = readText(path)
  if (text === undefined || !isStale(path, text)) return
  const aside = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}.stale`
  try {
    // Who renames it owns it: no other process can take the same one away again.
    renameSync(path, aside)
  } catch {
    return
  }
  // It was meanwhile another's: then two compile the same bytes, and the later rename wins. Rare, and no harm.
  rmSync(aside, { force: true })
}

function isStale(path: string, text: string): boolean {
  const [pid, started, boot] = text.trim().split(' ')
  if (pid === undefined || started === undefined) {
    try {
      return Date.now() - statSync(path).mtimeMs > EMPTY_LOCK_MS
    } catch {
      return false
    }
  }
  return isOtherBoot(boot) || startTime(Number(pid)) !== started
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}

/** Field 22 of `/proc/PID/stat`, `proc(5)`: with the pid it names one process. Empty where there is none. */
function startTime(pid: number): string {
  const text = textOf(`/proc/${pid}/stat`)
  // The second field is the program's name in parentheses, and may hold anything.
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}
