import { type ChildProcess, execFile, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

export const PROJECT = resolve(import.meta.dirname, '../..')
/** The folder of the programs under test: those of the source, or those as they are published, where test/run.sh has made them. */
export const PROGRAMS = join(process.env['FLISTFS_TEST_PROGRAM'] || PROJECT, 'bin')
export const FLISTFS = join(PROGRAMS, 'flistfs')
const FUSECTL = '/sys/fs/fuse/connections'
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024
/** Milliseconds one command of a test may take, on a slow machine that does other things too. */
const COMMAND_MS = 180_000
/** Milliseconds a server may take to leave once its mount is gone. */
const LEAVE_MS = 120_000
/** The longest pause between two looks at what is waited for. */
const PAUSE_MAX_MS = 300
/** How long a store may take to give a block: the default is too short for a machine that does ten other things. */
const READ_TIMEOUT = '5m'

/** How a command ended. */
export interface Done {
  /** Exit code; 128 + 9 where it was killed. */
  readonly code: number
  readonly stdout: Buffer
  readonly stderr: string
}

export interface RunOptions {
  readonly timeoutMs?: number
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

export interface MountOptions extends RunOptions {
  /** Words after ARCHIVE and DIR. */
  readonly words?: readonly string[]
  /** Of the mount; a fresh one where it is left out. */
  readonly directory?: string
  /** One for all mounts of a test where it is left out. */
  readonly cache?: string
}

/** A mount that serves. */
export interface Mounted {
  readonly directory: string
  readonly pid: number
  readonly digest: string
  readonly cache: string
  readonly log: string
  /** What was printed while mounting. */
  readonly stderr: string
}

/** Why tests that mount cannot run here, or false. */
export const NO_MOUNT =
  process.getuid?.() !== 0 ? 'needs root' : !existsSync('/dev/fuse') && 'needs /dev/fuse (modprobe fuse)'

/** Why a test that needs these programs cannot run here, or false. */
export function lacks(...programs: readonly string[]): string | false {
  const path = (process.env['PATH'] ?? '').split(':')
  const missing = programs.filter((program) => !path.some((dir) => existsSync(join(dir, program))))
  return missing.length > 0 && `needs ${missing.join(', ')}`
}

/** The place of one test: folders of its own, and all it started. Never touches a mount from this process. */
export class Lab {
  readonly dir = realpathSync(mkdtempSync(join(tmpdir(), 'flistfs-e2e-')))
  readonly runtime = this.folder('run')
  readonly cache = this.folder('cache')
  readonly #children = new Set<ChildProcess>()
  /** Where programs under test put temporary files. */
  readonly #temporary = this.folder('tmp')
  #count = 0

  path(name: string): string {
    return join(this.dir, name)
  }

  folder(name: string): string {
    mkdirSync(this.path(name), { recursive: true })
    return this.path(name)
  }

  /** Starts a program; it is killed when the test ends. */
  start(command: string, words: readonly string[], options: RunOptions = {}): ChildProcess {
    const child = spawn(command, words, {
      stdio: ['ignore', 'pipe', 'pipe'],
      cwd: options.cwd ?? this.dir,
      env: this.#env(options.env),
    })
    this.#children.add(child)
    child.on('exit', () => this.#children.delete(child))
    return child
  }

  /** Runs a program to its end. Never throws for what the program did; a program that takes too long is killed. */
  run(command: string, words: readonly string[], options: RunOptions = {}): Promise<Done> {
    return new Promise((done) => {
      const begun = performance.now()
      const child = execFile(
        command,
        words,
        {
          cwd: options.cwd ?? this.dir,
          env: this.#env(options.env),
          timeout: options.timeoutMs ?? COMMAND_MS,
          killSignal: 'SIGKILL',
          maxBuffer: OUTPUT_BYTES_MAX,
          encoding: 'buffer',
        },
        (error, stdout, stderr) => {
          this.#children.delete(child)
          const text = stderr.toString('utf8')
          if (error === null) return done({ code: 0, stdout, stderr: text })
          const code = typeof error.code === 'number' ? error.code : 137
          const ms = Math.round(performance.now() - begun)
          const killed = error.killed ? `\n[${command} was killed after ${ms} ms]` : ''
          done({ code, stdout, stderr: typeof error.code === 'string' ? `${text}\n${error.message}` : text + killed })
        },
      )
      child.stdin?.end()
      this.#children.add(child)
    })
  }

  /** Like `run`, and throws unless the program ended with 0. Gives its output. */
  async ok(command: string, words: readonly string[], options: RunOptions = {}): Promise<string> {
    const done = await this.run(command, words, options)
    if (done.code === 0) return done.stdout.toString('utf8')
    throw new Error(`${command} ${words.join(' ')} ended with ${done.code}: ${done.stderr}`)
  }

  /** A script of `test/e2e/children`, run by our Node in a process of its own. */
  script(name: string, words: readonly string[], options: RunOptions = {}): Promise<Done> {
    return this.run('sh', [join(PROJECT, 'bin/node'), join(import.meta.dirname, 'children', name), ...words], options)
  }

  flistfs(words: readonly string[], options: RunOptions = {}): Promise<Done> {
    return this.run('sh', [FLISTFS, ...words], options)
  }

  startFlistfs(words: readonly string[], options: RunOptions = {}): ChildProcess {
    return this.start('sh', [FLISTFS, ...words], options)
  }

  /** Tries to mount; `log` is where the server writes. */
  async tryMount(archive: string, options: MountOptions = {}): Promise<Done & { directory: string; log: string }> {
    this.#count += 1
    const directory = options.directory ?? this.folder(`mnt-${this.#count}`)
    const log = this.path(`log-${this.#count}`)
    const cache = options.cache ?? this.cache
    const words = ['--cache', cache, '--log', log, '--log-level', 'debug', '--json', ...(options.words ?? [])]
    const done = await this.flistfs(['mount', archive, directory, ...words], options)
    return { ...done, directory, log }
  }

  /** Mounts, or throws what the program said. */
  async mount(archive: string, options: MountOptions = {}): Promise<Mounted> {
    const done = await this.tryMount(archive, options)
    if (done.code !== 0) throw new Error(`mount ended with ${done.code}: ${done.stderr}`)
    const said = JSON.parse(done.stdout.toString('utf8')) as {
      directory: string
      pid: number
      digest: string
      cacheDir: string
    }
    const { directory, pid, digest, cacheDir: cache } = said
    return { directory, pid, digest, cache, log: done.log, stderr: done.stderr }
  }

  /** Unmounts with our own program, or throws what it said. */
  async umount(mounted: { readonly directory: string }, ...words: readonly string[]): Promise<void> {
    const done = await this.flistfs(['umount', mounted.directory, ...words])
    if (done.code !== 0) throw new Error(`umount ended with ${done.code}: ${done.stderr}`)
  }

  async stats(mounted: { readonly directory: string }): Promise<Stats> {
    const done = await this.flistfs(['stats', mounted.directory, '--json'])
    if (done.code !== 0) throw new Error(`stats ended with ${done.code}: ${done.stderr}`)
    return JSON.parse(done.stdout.toString('utf8')) as Stats
  }

  /** The logs of all mounts so far. */
  logs(): string {
    return readdirSync(this.dir)
      .filter((name) => name.startsWith('log-'))
      .map((name) => `${name}:\n${readFileSync(this.path(name), 'utf8')}`)
      .join('\n')
  }

  /** The servers of this test that still run. */
  servers(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && hasEnvironment(name, `FLISTFS_RUNTIME=${this.runtime}`))
      .map(Number)
  }

  /** Kills supervisors, servers and holders together, as nothing but a person or the kernel short of memory would. */
  async killAll(): Promise<void> {
    // At one moment: a supervisor that lived on would start a server again, a server would unmount what lost its holder.
    const all = this.servers()
    for (const pid of all) killGently(pid, 'SIGSTOP')
    for (const pid of all) killGently(pid)
    for (const pid of this.servers()) killGently(pid)
    await until(() => this.servers().length === 0)
  }

  /** Takes everything down and names what the test had left: nothing, where it is right. */
  async close(): Promise<string[]> {
    const left: string[] = []
    for (const child of this.#children) child.kill('SIGKILL')
    if (!existsSync(FUSECTL) || readdirSync(FUSECTL).length === 0)
      await this.run('mount', ['-t', 'fusectl', 'none', FUSECTL])
    for (const mount of this.#mounts().toReversed()) {
      abortConnection(mount.minor)
      await this.run('umount', ['--lazy', '--internal-only', mount.directory])
    }
    const mounts = this.#mounts().map(({ directory }) => `mount ${directory}`)
    await until(() => this.servers().length === 0, LEAVE_MS).catch(() => undefined)
    for (const pid of this.servers()) {
      left.push(`process ${pid}: ${commandLine(pid)}`)
      process.kill(pid, 'SIGKILL')
    }
    left.push(...mounts)
    for (const name of readdirSync(this.#temporary)) left.push(`temporary ${name}`)
    for (const name of readdirSync(this.runtime)) left.push(`record ${name}`)
    // A mount that could not be taken away must not be emptied.
    if (mounts.length === 0) rmSync(this.dir, { recursive: true, force: true })
    return left
  }

  /** Mounts under our folder, oldest first. */
  #mounts(): { directory: string; minor: number }[] {
    return readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' '))
      .map((fields) => ({ directory: unescape(fields[4] ?? ''), minor: Number((fields[2] ?? '').split(':')[1]) }))
      .filter(({ directory }) => directory.startsWith(`${this.dir}/`))
  }

  #env(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    const { NODE_OPTIONS: _taps, FLISTFS_STORE: _store, FLISTFS_HUB: _hub, ...env } = process.env
    const own = { TMPDIR: this.#temporary, FLISTFS_RUNTIME: this.runtime, FLISTFS_CACHE: this.cache }
    return { ...env, ...own, FLISTFS_TIMEOUT: READ_TIMEOUT, ...more }
  }
}

/** What the tests use of `flistfs stats --json`. */
export interface Stats {
  readonly blocks: { readonly total: number; readonly cached: number }
  readonly reads: Readonly<Record<string, number>>
  readonly requests: Readonly<Record<string, { readonly count: number }>>
  readonly stores: readonly {
    readonly name: string
    readonly requests: number
    readonly bytes: number
    readonly failures: number
  }[]
}

/** Waits until `holds` says so, and asks less and less often: what is asked costs the machine too. Throws after `timeoutMs`. */
export async function until(holds: () => boolean | Promise<boolean>, timeoutMs = 120_000): Promise<void> {
  const end = performance.now() + timeoutMs
  let pauseMs = 10
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`still not after ${timeoutMs} ms: ${holds.toString()}`)
    await sleep(pauseMs)
    pauseMs = Math.min(pauseMs * 1.5, PAUSE_MAX_MS)
  }
}

/** Every request that waits on this connection fails at once. */
export function abortConnection(minor: number): void {
  const path = `${FUSECTL}/${minor}/abort`
  if (existsSync(path)) writeFileSync(path, '1')
}

/** One that has just ended is as good. */
function killGently(pid: number, signal: 'SIGKILL' | 'SIGSTOP' = 'SIGKILL'): void {
  try {
    process.kill(pid, signal)
  } catch {
    // No such process.
  }
}

function hasEnvironment(pid: string, setting: string): boolean {
  try {
    const isZombie = /^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
    return !isZombie && readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(setting)
  } catch {
    return false
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  } catch {
    return 'gone'
  }
}

/** mountinfo writes blanks, tabs, newlines and backslashes as three octal digits. */
function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}
