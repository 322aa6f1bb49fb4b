import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** When a process began, in clock ticks since boot: with the pid it names one process for ever. Undefined: no such process. */
export function processStart(pid: number): number | undefined {
  const words = statWords(pid)
  // A zombie has ended; nobody may have asked for its exit code yet.
  return words.length === 0 || words[0] === 'Z' ? undefined : Number(words[19])
}

export interface ProcessName {
  readonly pid: number
  readonly pidStart: number
}

/** What names a process from now on. Of one that has ended, it is a name of nobody. */
export function processNamed(pid: number): ProcessName {
  return { pid, pidStart: processStart(pid) ?? 0 }
}

export function isAlive(process: ProcessName): boolean {
  return processStart(process.pid) === process.pidStart
}

/** Sends a signal to this very process, never to another that got its number. */
export function signalProcess(target: ProcessName, name: NodeJS.Signals): boolean {
  if (!isAlive(target)) return false
  try {
    return process.kill(target.pid, name)
  } catch {
    return false
  }
}

/** Resolves true once the process has ended, false at the deadline. */
export async function waitForEnd(target: ProcessName, timeoutMs: number, signal: AbortSignal): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  for (let pauseMs = 2; isAlive(target); pauseMs = Math.min(50, pauseMs * 2)) {
    if (performance.now() > deadline) return false
    await sleep(pauseMs, undefined, { signal })
  }
  return true
}

/**
 * Kills a server of the same supervisor and returns when none of its threads runs any more: a zombie takes no requests. One
 * that has died meanwhile is fine; another process that got its number is left alone.
 */
export async function endServer(pid: number): Promise<void> {
  if (statWords(pid)[1] !== String(process.ppid)) return
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    return
  }
  while (isRunning(pid)) await sleep(1)
}

function isRunning(pid: number): boolean {
  const [state = 'Z'] = statWords(pid)
  return state !== 'Z'
}

/** State, parent and what follows in /proc/PID/stat; empty where there is no such process. */
function statWords(pid: number): string[] {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name in parentheses may hold spaces and parentheses; what follows the last one is plain.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  } catch {
    return []
  }
}
