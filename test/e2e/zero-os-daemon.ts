import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from 'node:fs'
import { basename, extname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Done, Lab } from './mounted.ts'

/** One line of `findmnt -J -l`. */
interface Found {
  readonly target: string
  readonly source: string
  readonly fstype: string
  readonly options: string
}

/** Looks, a second apart. flistd gives up after four, and kills a mounter after five seconds; tests run on slow machines too. */
const TRIES_MAX = 120

/** What a workload asks for. `volume`: writable, and its changes go there. */
export interface ZeroOsMount {
  readonly storage: string
  readonly volume?: string
}

/**
 * Zero-OS's flistd as its sources have it (zosbase, pkg/flist): the same folders, the same programs with the same words, the
 * same waiting and the same clean-up. What it asks of a mounter is what it does here.
 */
export class ZeroOsDaemon {
  readonly root: string
  readonly #lab: Lab
  readonly #sbin: string
  /** Mounters that ran, with how they ended. */
  readonly ran: { readonly words: readonly string[]; readonly done: Done; readonly ms: number }[] = []

  constructor(lab: Lab, root: string, sbin: string) {
    this.#lab = lab
    this.root = root
    this.#sbin = sbin
    for (const name of ['flist', 'cache', 'ro', 'mountpoint', 'log', 'pid'])
      mkdirSync(join(root, name), { recursive: true })
  }

  async mount(name: string, url: string, options: ZeroOsMount): Promise<string> {
    const place = join(this.root, 'mountpoint', name)
    if (await this.#isMounted(place)) return place
    try {
      const layer = await this.#readOnlyLayer(url, options.storage)
      mkdirSync(place, { recursive: true })
      if (options.volume === undefined) await this.#lab.ok('mount', ['--bind', layer, place])
      else {
        for (const folder of ['rw', 'wd']) mkdirSync(join(options.volume, folder), { recursive: true })
        const words = `noatime,lowerdir=${layer},upperdir=${options.volume}/rw,workdir=${options.volume}/wd`
        await this.#lab.ok('mount', ['-t', 'overlay', 'overlay', '-o', words, place])
      }
      await this.#waitMounted(place)
      return place
    } finally {
      await this.cleanUnusedMounts()
    }
  }

  async unmount(name: string): Promise<void> {
    const place = join(this.root, 'mountpoint', name)
    await this.#lab.ok('umount', [place])
    rmdirSync(place)
    await this.cleanUnusedMounts()
  }

  /** The MD5 of what a workload runs on, from the command line of the process that serves it. */
  async hashFromRootPath(name: string): Promise<string> {
    const mounts = await this.#find()
    const place = mounts.find(({ target }) => target === join(this.root, 'mountpoint', name))
    const lower = /lowerdir=([^,]*)/.exec(place?.options ?? '')?.[1]
    const served = lower === undefined ? place : mounts.find(({ target }) => target === lower)
    const words = readFileSync(`/proc/${pidOf(served)}/cmdline`, 'utf8').split('\0')
    const archive = words.find((word) => word.startsWith(join(this.root, 'flist')))
    return basename(archive ?? '')
  }

  /** Read-only layers that no workload uses are unmounted, and folders on which nothing is mounted go. */
  async cleanUnusedMounts(): Promise<void> {
    const mounts = await this.#find()
    const layers = mounts.filter(
      ({ target, fstype }) => target.startsWith(join(this.root, 'ro/')) && fstype === 'fuse.g8ufs',
    )
    const byPath = new Map(layers.map((layer) => [layer.target, pidOf(layer)]))
    const used = new Set<number>()
    for (const mount of mounts.filter(({ target }) => target.startsWith(join(this.root, 'mountpoint/')))) {
      if (mount.fstype === 'fuse.g8ufs') used.add(pidOf(mount))
      else used.add(byPath.get(/lowerdir=([^,]*)/.exec(mount.options)?.[1] ?? '') ?? 0)
    }
    for (const layer of layers) {
      if (used.has(pidOf(layer))) continue
      await this.#lab.ok('umount', [layer.target])
      rmdirSync(layer.target)
    }
    for (const name of readdirSync(join(this.root, 'mountpoint'))) {
      const place = join(this.root, 'mountpoint', name)
      if (!mounts.some(({ target }) => target === place)) rmdirSync(place)
    }
  }

  async #readOnlyLayer(url: string, storage: string): Promise<string> {
    const response = await fetch(url)
    if (response.status !== 200) throw new Error(`${url}: ${response.status}`)
    const bytes = Buffer.from(await response.arrayBuffer())
    const hash = createHash('md5').update(bytes).digest('hex')
    const archive = join(this.root, 'flist', hash)
    writeFileSync(`${archive}.part`, bytes)
    renameSync(`${archive}.part`, archive)
    const layer = join(this.root, 'ro', hash)
    if (await this.#isMounted(layer)) return layer
    mkdirSync(layer, { recursive: true })
    const words = [
      '--cache',
      join(this.root, 'cache'),
      '--meta',
      archive,
      '--daemon',
      '--log',
      join(this.root, 'log', `${hash}.log`),
      layer,
    ]
    const type = extname(new URL(url).pathname)
    if (type === '.flist') await this.#run('g8ufs', ['--storage-url', storage, '--ro', ...words])
    else if (type === '.fl') await this.#run('rfs', ['mount', ...words])
    else throw new Error(`unknown extension: '${type}'`)
    await this.#waitMounted(layer)
    return layer
  }

  /** Its end is waited for, and that of whoever holds its output. */
  async #run(name: string, words: readonly string[]): Promise<void> {
    const start = performance.now()
    const done = await this.#lab.run(join(this.#sbin, name), words)
    this.ran.push({ words: [name, ...words], done, ms: performance.now() - start })
    if (done.code !== 0) throw new Error(`${name} ended with ${done.code}: ${done.stderr}`)
  }

  async #waitMounted(place: string): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      await sleep(1000)
      if (await this.#isMounted(place)) return
    }
    throw new Error(`${place} was not mounted in time`)
  }

  async #isMounted(place: string): Promise<boolean> {
    return existsSync(place) && (await this.#lab.run('mountpoint', ['-q', place])).code === 0
  }

  async #find(): Promise<Found[]> {
    const text = await this.#lab.ok('findmnt', ['-J', '-l'])
    return (JSON.parse(text) as { filesystems: Found[] }).filesystems
  }
}

/** The source of a mount is the number of a process; of a bind mount findmnt adds the folder in brackets. */
function pidOf(found: Found | undefined): number {
  return Number((found?.source ?? '').replace(/\[.*\]$/, ''))
}
