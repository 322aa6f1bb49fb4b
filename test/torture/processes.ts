import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** Reads a file of /proc, '' where the process is gone. */
function proc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'utf8')
  } catch {
    return ''
  }
}

/** The servers, old and new, that a supervisor runs now; not the holder of its first mount. */
export function serversOf(supervisor: number): number[] {
  return proc(`${supervisor}/task/${supervisor}/children`)
    .split(' ')
    .map(Number)
    .filter((pid) => pid > 0 && /flistfs\.[a-z]+\0/.test(proc(`${pid}/cmdline`)))
    .filter((pid) => !proc(`${pid}/cmdline`).includes('bin/supervise'))
}

/** Bytes: `VmHWM`, the most it ever had, `VmRSS`, what it has, or `RssAnon`, what of that is no page of a file. */
export function memoryOf(pid: number, what: 'VmHWM' | 'VmRSS' | 'RssAnon'): number {
  return Number(new RegExp(`${what}:\\s+(\\d+)`).exec(proc(`${pid}/status`))?.[1] ?? 0) * 1024
}

/** What each open descriptor is. */
export function descriptorsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`)
      } catch {
        return 'gone'
      }
    })
  } catch {
    return []
  }
}

/** Processes that the kernel does not let go, with where they wait, as lines. */
export function stuck(belongs: (environment: string) => boolean): string[] {
  const lines: string[] = []
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const state = /^\d+ \(.*\) (\w)/s.exec(proc(`${pid}/stat`))?.[1]
    if (state !== 'D' || !belongs(proc(`${pid}/environ`))) continue
    const words = proc(`${pid}/cmdline`).replaceAll('\0', ' ')
    lines.push(`process ${pid} is in state D: ${words}\n${proc(`${pid}/stack`)}`)
  }
  return lines
}
