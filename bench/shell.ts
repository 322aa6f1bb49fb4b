import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Milliseconds one command may take: rfs took 278 s to pack the full tree. */
const COMMAND_MS = 900_000

export interface ShellResult {
  readonly stdout: string
  readonly ms: number
}

/** Runs one line of sh to its end. Throws with its stderr where it fails or takes too long. */
export function shell(line: string, env: NodeJS.ProcessEnv = process.env): ShellResult {
  const started = performance.now()
  const done = spawnSync('sh', ['-c', line], {
    env,
    timeout: COMMAND_MS,
    killSignal: 'SIGKILL',
    maxBuffer: 64 * 1024 * 1024,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ms = performance.now() - started
  if (done.error !== undefined) throw new Error(`\`${line}\`: ${done.error.message}`)
  if (done.status !== 0) throw new Error(`\`${line}\` ended with ${done.status}: ${String(done.stderr).trim()}`)
  return { stdout: String(done.stdout), ms }
}

/** The path of a program, or undefined. */
export function which(name: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(delimiter)
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path))
}

/** The kernel forgets pages, names and inodes: what is read next comes from the disk, or from us. */
export function dropCaches(): void {
  shell('sync')
  writeFileSync('/proc/sys/vm/drop_caches', '3')
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other)
  const middle = sorted.length >>> 1
  const high = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2
}
