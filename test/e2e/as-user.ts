import { type ChildProcess, execFile, execFileSync, spawn, type SpawnOptions, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Test } from 'tap'
import { ended, Examiner } from '../kernel/served-mount.ts'
import { FLISTFS } from './lab.ts'

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
const READY_MS = 120_000
const COMMAND_MS = 120_000

/** `nobody`: fusermount3 wants a user with a name. */
export const USER = idsOf('nobody')

/** Becomes that user, with no other groups. */
const as = { uid: USER?.uid, gid: USER?.gid } as { uid: number; gid: number }

/** Why tests that mount as a user cannot run here, or false. */
export const NO_USER =
  (process.getuid?.() !== 0 && 'needs root, to become another user') ||
  (USER === undefined && 'needs a user "nobody"') ||
  (!existsSync('/dev/fuse') && 'needs /dev/fuse (modprobe fuse)') ||
  (!canRun('test', '-r', FLISTFS) && 'needs a checkout that other users can read') ||
  (!canRun('python3', '-c', '') && 'needs python3 for all users')

/** Why no user can mount through fusermount3 here, or false. */
export const NO_FUSERMOUNT = NO_USER || (!canRun('fusermount3', '-V') && 'needs fusermount3 (package fuse3)')

/** Why no user can make a user namespace here, or false. */
export const NO_NAMESPACE =
  NO_USER || (!canRun('unshare', '-Urm', 'true') && 'needs user namespaces for users, and unshare (util-linux)')

function idsOf(name: string): { uid: number; gid: number } | undefined {
  const [uid, gid] = ['-u', '-g'].map((word) => spawnSync('id', [word, name], { encoding: 'utf8', timeout: 120_000 }))
  if (uid?.status !== 0 || gid?.status !== 0) return undefined
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
}

function canRun(command: string, ...words: string[]): boolean {
  if (USER === undefined || process.getuid?.() !== 0) return false
  return spawnSync(command, words, { uid: USER.uid, gid: USER.gid, env: { PATH }, timeout: 120_000 }).status === 0
}

/** Every user may open the device while the test runs, as on most systems. */
export function openDeviceToAll(t: Test): void {
  const mode = statSync('/dev/fuse').mode & 0o7777
  chmodSync('/dev/fuse', 0o666)
  t.teardown(() => chmodSync('/dev/fuse', mode))
}

export interface Done {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** The home of a user of this test. All is gone when it ends. */
export class UserLab {
  readonly dir: string
  readonly directory: string
  /** More variables and others for what runs here. */
  readonly env: NodeJS.ProcessEnv

  constructor(t: Test) {
    this.dir = realpathSync(mkdtempSync(join(tmpdir(), 'flistfs-user-')))
    this.directory = this.folder('mount')
    this.env = {
      PATH,
      HOME: this.dir,
      TMPDIR: this.folder('tmp'),
      FLISTFS_RUNTIME: this.folder('run'),
      FLISTFS_CACHE: this.folder('cache'),
    }
    chownSync(this.dir, as.uid, as.gid)
    t.teardown(() => {
      // Nothing where the test went well.
      spawnSync('umount', ['--lazy', '--internal-only', this.directory], { stdio: 'ignore', timeout: 120_000 })
      rmSync(this.dir, { recursive: true, force: true })
    })
  }

  path(name: string): string {
    return join(this.dir, name)
  }

  folder(name: string): string {
    mkdirSync(this.path(name), { mode: 0o700 })
    chownSync(this.path(name), as.uid, as.gid)
    return this.path(name)
  }

  get options(): { uid: number; gid: number; env: NodeJS.ProcessEnv; cwd: string } {
    return { ...as, env: this.env, cwd: this.dir }
  }

  /** Runs a program as the user, to its end. */
  run(command: string, words: readonly string[], more: SpawnOptions = {}): Promise<Done> {
    return new Promise((done) => {
      const options = {
        ...this.options,
        ...more,
        timeout: COMMAND_MS,
        killSignal: 'SIGKILL',
        encoding: 'utf8',
      } as const
      const child = execFile(command, words, options, (error, stdout, stderr) =>
        done({ code: error === null ? 0 : child.exitCode, stdout, stderr }),
      )
      child.stdin?.end()
    })
  }

  flistfs(...words: readonly string[]): Promise<Done> {
    return this.run('sh', [FLISTFS, ...words])
  }

  /** A mount in the foreground, taken away when the test ends; `before`: words that bring it into a namespace. */
  async serve(
    t: Test,
    archive: string,
    words: readonly string[] = [],
    before: readonly string[] = [],
  ): Promise<UserMount> {
    const program = [...before, 'sh', FLISTFS, 'mount', '--foreground', '--json', ...words, archive, this.directory]
    const [command = '', ...rest] = program
    const server = spawn(command, rest, { ...this.options, stdio: ['ignore', 'pipe', 'inherit'], detached: true })
    const gone = once(server, 'exit')
    t.teardown(async () => {
      if (!(await ended(server, gone))) killGroup(server)
      await gone
    })
    const [line] = (await Promise.race([
      once(createInterface(server.stdout), 'line', { signal: AbortSignal.timeout(READY_MS) }),
      gone.then(([code]) => Promise.reject(new Error(`the server ended with ${String(code)}`))),
    ])) as [string]
    const { pid } = JSON.parse(line) as { pid: number }
    const enter = before.length === 0 ? [] : ['nsenter', '-t', `${server.pid}`, '-U', '-m', '--preserve-credentials']
    const examiner = new Examiner(this.options, enter)
    t.teardown(() => examiner.close())
    return { directory: this.directory, examiner, pid, server, gone, enter }
  }
}

export interface UserMount {
  readonly directory: string
  readonly examiner: Examiner
  /** Of the server when it began. */
  readonly pid: number
  readonly server: ChildProcess
  readonly gone: Promise<unknown>
  /** Words before a program that shall see the mount. */
  readonly enter: string[]
}

/** Supervisor and server: the device closes with them, and whoever waits gets an error. */
function killGroup(server: ChildProcess): void {
  if (server.pid !== undefined) process.kill(-server.pid, 'SIGKILL')
}

/** A folder that all users can read, for archives and stores. */
export function publicFolder(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-public-'))
  chmodSync(dir, 0o755)
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** Programs of `names` alone, for a PATH without others. */
export function pathOf(dir: string, names: readonly string[]): string {
  mkdirSync(dir)
  for (const name of names)
    execFileSync('sh', ['-c', 'ln -s "$(command -v "$0")" "$1/$0"', name, dir], { timeout: 120_000 })
  return dir
}
