import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import type { Attributes, DirectoryEntry, TreeView } from '../vfs/filesystem-suite.ts'

const PROJECT = resolve(import.meta.dirname, '../..')
const FUSECTL = '/sys/fs/fuse/connections'
const READY_MS = 120_000
const LEAVE_MS = 120_000

/** Why tests that mount and look at it from python3 cannot run here, or false. */
export const NO_MOUNT =
  (process.getuid?.() !== 0 && 'needs root') ||
  (!existsSync('/dev/fuse') && 'needs /dev/fuse (modprobe fuse)') ||
  (spawnSync('python3', ['-c', ''], { timeout: 120_000 }).status !== 0 && 'needs python3')

export interface Served {
  readonly directory: string
  readonly server: ChildProcess
  /** A process that looks at the mount. */
  readonly examiner: Examiner
  /** What `flistfs stats` says. */
  readonly stats: () => Promise<unknown>
}

/** Mounts an archive in a child process; it is gone when the test ends. */
export async function serve(t: Test, archivePath: string, words: readonly string[] = []): Promise<Served> {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-served-'))
  const directory = join(dir, 'mount')
  for (const name of ['mount', 'cache', 'run']) mkdirSync(join(dir, name), { mode: 0o700 })
  const program = [join(PROJECT, 'bin/node'), join(PROJECT, 'bin/flistfs.ts'), 'mount', '--json', '--foreground']
  const server = spawn('sh', [...program, ...words, '--cache', join(dir, 'cache'), archivePath, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, FLISTFS_RUNTIME: join(dir, 'run') },
  })
  const gone = once(server, 'exit')
  t.teardown(async () => {
    const isGone = await ended(server, gone)
    // One that died has not unmounted either.
    clear(directory)
    if (!isGone) server.kill('SIGKILL')
    await gone
    rmSync(dir, { recursive: true, force: true })
  })
  const [line] = (await Promise.race([
    once(createInterface(server.stdout), 'line', { signal: AbortSignal.timeout(READY_MS) }),
    gone.then(([code]) => Promise.reject(new Error(`the server ended with ${String(code)}`))),
  ])) as [string]
  if (!line.includes(directory)) throw new Error(`the server said ${line}`)
  const examiner = new Examiner()
  t.teardown(() => examiner.close())
  const stats = async (): Promise<unknown> => {
    const words = [join(PROJECT, 'bin/node'), join(PROJECT, 'bin/flistfs.ts'), 'stats', '--json', directory]
    const env = { ...process.env, FLISTFS_RUNTIME: join(dir, 'run') }
    return JSON.parse((await promisify(execFile)('sh', words, { env, timeout: 120_000 })).stdout)
  }
  return { directory, server, examiner, stats }
}

/** Asks a server to end; false: it has not, in all its time. */
export async function ended(server: ChildProcess, gone: Promise<unknown>): Promise<boolean> {
  server.kill('SIGTERM')
  const late = AbortSignal.timeout(LEAVE_MS)
  const tooLate = new Promise<false>((resolve) => late.addEventListener('abort', () => resolve(false)))
  return Promise.race([gone.then(() => true), tooLate])
}

/** Takes away what is still mounted there: an aborted connection lets go of whoever waits for it. */
function clear(directory: string): void {
  const line = readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .find((words) => words.split(' ')[4] === directory)
  const minor = line?.split(' ')[2]?.split(':')[1]
  if (minor === undefined) return
  if (!existsSync(`${FUSECTL}/${minor}`))
    spawnSync('mount', ['-t', 'fusectl', 'none', FUSECTL], { stdio: 'ignore', timeout: 120_000 })
  if (existsSync(`${FUSECTL}/${minor}/abort`)) writeFileSync(`${FUSECTL}/${minor}/abort`, '1')
  spawnSync('umount', ['--lazy', '--internal-only', directory], { stdio: 'ignore', timeout: 120_000 })
}

/** `examiner.py` as an object: calls run in its process, one after the other. */
export class Examiner {
  readonly #child: ChildProcess & { stdin: Writable; stdout: Readable }
  readonly #lines: AsyncIterator<string>
  /** Resolves when its process has ended. */
  readonly gone: Promise<unknown>

  /** `options` and the words before python3 make it another user's, or bring it into a namespace. */
  constructor(
    options: { uid?: number; gid?: number; env?: NodeJS.ProcessEnv; cwd?: string } = {},
    before: string[] = [],
  ) {
    const [command = '', ...words]: string[] = [...before, 'python3', join(import.meta.dirname, 'examiner.py')]
    this.#child = spawn(command, words, { ...options, stdio: ['pipe', 'pipe', 'inherit'] })
    this.gone = once(this.#child, 'exit')
    this.#lines = createInterface(this.#child.stdout)[Symbol.asyncIterator]()
  }

  async ask(act: string, path: Buffer | null, ...words: unknown[]): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify([act, path?.toString('hex') ?? null, ...words])}\n`)
    const { value: line, done } = await this.#lines.next()
    if (done === true) throw new Error('the examiner ended')
    const answer = JSON.parse(line) as { value?: unknown; code?: string; text?: string }
    if (answer.code === undefined) return answer.value
    throw Object.assign(new Error(`${act}: ${answer.code} ${answer.text ?? ''}`), { code: answer.code })
  }

  close(): void {
    this.#child.kill('SIGKILL')
  }
}

/** A mount as another process sees it. */
export class MountView implements TreeView {
  readonly #served: Pick<Served, 'directory' | 'examiner'>
  /** Bytes of one page of getdents64(2). */
  readonly #page: number

  constructor(served: Pick<Served, 'directory' | 'examiner'>, page = 32768) {
    this.#served = served
    this.#page = page
  }

  path(path: Buffer): Buffer {
    return Buffer.concat([Buffer.from(this.#served.directory), Buffer.from('/'), path])
  }

  async #ask(act: string, path: Buffer, ...words: unknown[]): Promise<unknown> {
    return this.#served.examiner.ask(act, this.path(path), ...words)
  }

  async lstat(path: Buffer): Promise<Attributes> {
    return attributesOf(...(((await this.#ask('lstat', path)) as string[]).map(BigInt) as Eleven))
  }

  async readdir(path: Buffer): Promise<DirectoryEntry[]> {
    const found = (await this.#ask('getdents', path, this.#page)) as [string, number, string][]
    return found
      .map(([name, type, ino]) => ({ name: Buffer.from(name, 'hex'), type, ino: BigInt(ino) }))
      .filter(({ name }) => name.toString() !== '.' && name.toString() !== '..')
  }

  async readlink(path: Buffer): Promise<Buffer> {
    return Buffer.from((await this.#ask('readlink', path)) as string, 'hex')
  }

  async read(path: Buffer, offset: number, bytes: number): Promise<Buffer> {
    return Buffer.from((await this.#ask('read', path, offset, bytes, 0)) as string, 'base64')
  }

  async listxattr(path: Buffer): Promise<Buffer[]> {
    return ((await this.#ask('listxattr', path)) as string[]).map((name) => Buffer.from(name, 'hex'))
  }

  async getxattr(path: Buffer, name: Buffer): Promise<Buffer> {
    return Buffer.from((await this.#ask('getxattr', path, name.toString('hex'))) as string, 'hex')
  }

  async statfs(): ReturnType<TreeView['statfs']> {
    const numbers = (await this.#ask('statfs', Buffer.alloc(0))) as string[]
    const [files = 0n, blocks = 0n, blockBytes = 0n, free = 0n, nameBytesMax = 0n] = numbers.map(BigInt)
    return { files, blocks, blockBytes: Number(blockBytes), free, nameBytesMax: Number(nameBytesMax) }
  }
}

type Eleven = [bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint]

function attributesOf(...numbers: Eleven): Attributes {
  const [ino, mode, nlink, uid, gid, rdev, size, blocks, atimeNs, mtimeNs, ctimeNs] = numbers
  return {
    ino,
    mode: Number(mode),
    nlink: Number(nlink),
    uid: Number(uid),
    gid: Number(gid),
    rdev,
    size,
    blocks,
    atimeNs,
    mtimeNs,
    ctimeNs,
  }
}
