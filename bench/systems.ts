import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { spawnSync } from 'node:child_process'
import type { Fixtures } from './fixtures.ts'
import { findPeers, type Peer, type TreeName } from './peers.ts'
import { installProgram } from './program.ts'
import { shell } from './shell.ts'

/** A tree that is mounted; `close` always unmounts and ends its process. Idempotent. */
export interface Mounted {
  readonly directory: string
  /** Of the server, where one of ours is known. */
  readonly pid: number
  close(): void
}

export interface FlistfsMount {
  readonly archive: string
  readonly store: string
  readonly cache: string
  /** More words of `flistfs mount`. */
  readonly words?: readonly string[]
}

/** What `flistfs stats --json DIR` says, as far as rows need it. */
export interface Stats {
  readonly blocks: { readonly total: number; readonly cached: number }
  readonly reads: { readonly bytes: number; readonly fetched: number; readonly fromCache: number }
  readonly requests: Readonly<Record<string, { readonly count: number }>>
  readonly stores: readonly { readonly requests: number; readonly bytes: number }[]
  readonly memory: { readonly rssBytes: number; readonly mappedIndexBytes: number }
}

/** Mounts and unmounts what rows compare, below the work folder. */
export class Systems {
  readonly fixtures: Fixtures
  readonly env: NodeJS.ProcessEnv
  /** The program, as it is installed. */
  readonly program: string
  /** Programs of others that are installed. */
  readonly peers: readonly Peer[]
  /** Why the others are not among them, by name. */
  readonly absent: Readonly<Record<string, string>>
  readonly #open = new Set<Mounted>()

  constructor(fixtures: Fixtures) {
    this.fixtures = fixtures
    const runtime = join(fixtures.work, 'runtime')
    rmSync(runtime, { recursive: true, force: true })
    mkdirSync(runtime, { recursive: true, mode: 0o700 })
    mkdirSync(join(fixtures.work, 'mounts'), { recursive: true })
    this.program = installProgram(join(fixtures.work, 'program'))
    this.env = { ...process.env, FLISTFS_RUNTIME: runtime }
    const absent: Record<string, string> = {}
    this.peers = findPeers(fixtures, (name, why) => (absent[name] = why))
    this.absent = absent
  }

  /** A new folder below the work folder. */
  scratch(name: string): string {
    return mkdtempSync(join(this.fixtures.work, 'mounts', `${name}-`))
  }

  mountFlistfs(options: FlistfsMount): Mounted {
    const directory = this.scratch('flistfs')
    const { env } = this
    const { stdout } = shell(`${this.mountLine(options, directory)} --json`, env)
    const { pid } = JSON.parse(stdout) as { pid: number }
    return this.#track(directory, pid, () => {
      const asked = spawnSync('sh', [this.program, 'umount', directory], { env, timeout: 20_000, stdio: 'ignore' })
      if (asked.status !== 0) abort(directory, pid)
    })
  }

  mountErofs(): Mounted | undefined {
    const { erofs } = this.fixtures
    if (erofs === undefined) return undefined
    const directory = this.scratch('erofs')
    shell(`mount -t erofs -o ro,loop ${erofs} ${directory}`)
    return this.#track(directory, 0, () => detach(directory))
  }

  mountImage(image: string): Mounted {
    const directory = this.scratch('image')
    shell(`mount -o ro,loop ${image} ${directory}`)
    return this.#track(directory, 0, () => detach(directory))
  }

  /** Throws what the program said where it does not mount. */
  mountPeer(peer: Peer, tree: TreeName, cache: string): Mounted {
    const directory = this.scratch(peer.name)
    const mount = peer.mount(tree, cache, directory)
    const tracked = this.#track(directory, 0, () => mount.close())
    return { directory: mount.root, pid: 0, close: () => tracked.close() }
  }

  stats(mounted: Mounted): Stats {
    return JSON.parse(shell(`sh ${this.program} stats --json ${mounted.directory}`, this.env).stdout) as Stats
  }

  /** The words of a shell that mount it. */
  mountLine({ archive, store, cache, words = [] }: FlistfsMount, directory: string): string {
    const all = [archive, directory, '--store', store, '--cache', cache, '--log', join(cache, 'bench.log'), ...words]
    return `mkdir -p ${cache} && sh ${this.program} mount ${all.join(' ')}`
  }

  /** A cache with nothing in it but the index of the archive, so that no row pays for compiling it. */
  emptyCache(archive: string): string {
    const prepared = join(this.fixtures.work, 'prepared')
    if (!existsSync(join(prepared, 'v1', 'index'))) mkdirSync(prepared, { recursive: true })
    this.mountFlistfs({ archive, store: `dir://${this.fixtures.store}`, cache: prepared }).close()
    const cache = this.scratch('cache')
    mkdirSync(join(cache, 'v1'), { mode: 0o700 })
    for (const part of ['index', 'digests']) {
      const from = join(prepared, 'v1', part)
      if (existsSync(from)) shell(`cp -a ${from} ${join(cache, 'v1')}`)
    }
    return cache
  }

  /** Tried again: a server may still be writing the last of what it had when its mount went. */
  remove(path: string): void {
    rmSync(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  }

  close(): void {
    for (const mounted of this.#open) mounted.close()
  }

  #track(directory: string, pid: number, end: () => void): Mounted {
    const mounted = {
      directory,
      pid,
      close: (): void => {
        if (!this.#open.delete(mounted)) return
        end()
        rmSync(directory, { recursive: true, force: true })
      },
    }
    this.#open.add(mounted)
    return mounted
  }
}

function detach(directory: string): void {
  spawnSync('umount', ['-l', directory], { timeout: 20_000 })
}

/** The server did not go by itself: cuts its connection, ends it, and takes the mount away. */
function abort(directory: string, pid: number): void {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((text) => text.split(' ')[4] === directory)
  const minor = line?.split(' ')[2]?.split(':')[1]
  const control = `/sys/fs/fuse/connections/${minor}/abort`
  if (minor !== undefined && existsSync(control)) writeFileSync(control, '1')
  if (pid > 0) spawnSync('kill', ['-KILL', String(pid)])
  detach(directory)
}
