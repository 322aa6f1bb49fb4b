import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { shell, which } from './shell.ts'

/** Programs of others that mount lazily, found on PATH: what they are given, and how they are started. */
export const PEER_NAMES = ['rfs', 'nydusd'] as const
export type PeerName = (typeof PEER_NAMES)[number]
export type TreeName = 'small' | 'big'

/** What peers mount, all of it made before. */
export interface PeerTrees {
  readonly work: string
  /** `small/` and `big/` as ordinary files. */
  readonly native: string
  /** fl archives whose only route is a dir store: rfs knows no other way to name one. */
  readonly smallArchive: string
  readonly bigArchive: string
}

export interface Peer {
  readonly name: PeerName
  /** Mounts at the empty folder `directory`, with `cache` for what it fetches. Throws what the program said where it fails. */
  mount(tree: TreeName, cache: string, directory: string): PeerMount
}

export interface PeerMount {
  /** Where the tree begins. */
  readonly root: string
  /** Unmounts and ends its process. Idempotent. */
  close(): void
}

const READY_MS = 20_000
const LEAVE_MS = 10_000

/** Those that are here and are what their name says; `absent` hears of each of the others. */
export function findPeers(trees: PeerTrees, absent: (name: PeerName, why: string) => void): Peer[] {
  const peers: Peer[] = []
  if (which('rfs') === undefined) absent('rfs', 'not on PATH')
  // Our own stand-in for Zero-OS and a crate of this name are on PATH here and there: neither packs.
  else if (spawnSync('rfs', ['pack', '--help'], { timeout: READY_MS, stdio: 'ignore' }).status !== 0)
    absent('rfs', 'the program of this name is another one')
  else peers.push({ name: 'rfs', mount: (tree, cache, directory) => mountRfs(trees, tree, cache, directory) })
  if (which('nydusd') === undefined) absent('nydusd', 'not on PATH')
  else if (which('nydus-image') === undefined)
    absent('nydusd', 'nydus-image, which makes what it mounts, is not on PATH')
  else peers.push({ name: 'nydusd', mount: (tree, cache, directory) => mountNydus(trees, tree, cache, directory) })
  return peers
}

/** `rfs mount --daemon` returns when it is mounted, or fails after five seconds. */
function mountRfs(trees: PeerTrees, tree: TreeName, cache: string, directory: string): PeerMount {
  mkdirSync(cache, { recursive: true })
  const archive = tree === 'small' ? trees.smallArchive : trees.bigArchive
  const log = join(trees.work, 'rfs.log')
  shell(`rfs mount --meta ${archive} --cache ${cache} --daemon --log ${log} ${directory}`)
  // It names its process as the source of the mount.
  const pid = Number(mountSource(directory))
  return { root: directory, close: closer(directory, Number.isInteger(pid) ? pid : 0) }
}

/** nydusd stays in the foreground. Its blobs are what nydus-image makes by default: compressed, not encrypted. */
function mountNydus(trees: PeerTrees, tree: TreeName, cache: string, directory: string): PeerMount {
  const { bootstrap, blobs } = nydusImage(trees)
  mkdirSync(cache, { recursive: true })
  const config = join(trees.work, 'nydusd.json')
  const device = {
    backend: { type: 'localfs', config: { dir: blobs } },
    cache: { type: 'blobcache', config: { work_dir: cache } },
  }
  writeFileSync(config, JSON.stringify({ device, mode: 'direct', digest_validate: false, iostats_files: false }))
  const log = join(trees.work, 'nydusd.log')
  // As many open files as there may be: it asks for a million, which not every root may have.
  const words = `--config ${config} --bootstrap ${bootstrap} --mountpoint ${directory} --log-level error --rlimit-nofile 0`
  const pid = Number(shell(`nydusd ${words} > ${log} 2>&1 & echo $!`).stdout)
  const close = closer(directory, pid)
  const end = performance.now() + READY_MS
  while (mountSource(directory) === undefined) {
    if (isAlive(pid) && performance.now() < end) {
      sleep(20)
      continue
    }
    close()
    throw new Error(`nydusd did not mount: ${readFileSync(log, 'utf8').trim().slice(-500)}`)
  }
  return { root: join(directory, tree), close }
}

/** Both trees as one image. Made once; an image that was not finished is not seen. */
function nydusImage({ work, native }: PeerTrees): { bootstrap: string; blobs: string } {
  const folder = join(work, 'nydus')
  const made = { bootstrap: join(folder, 'bootstrap'), blobs: join(folder, 'blobs') }
  if (existsSync(join(folder, 'done'))) return made
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(made.blobs, { recursive: true })
  shell(`nydus-image create --bootstrap ${made.bootstrap} --blob-dir ${made.blobs} ${native}`)
  writeFileSync(join(folder, 'done'), '')
  return made
}

function closer(directory: string, pid: number): () => void {
  let closed = false
  return () => {
    if (closed) return
    closed = true
    spawnSync('umount', [directory], { timeout: READY_MS, stdio: 'ignore' })
    if (mountSource(directory) !== undefined) spawnSync('umount', ['-l', directory], { timeout: READY_MS })
    if (pid <= 1) return
    const end = performance.now() + LEAVE_MS
    while (isAlive(pid) && performance.now() < end) sleep(20)
    if (isAlive(pid)) process.kill(pid, 'SIGKILL')
  }
}

/** The source of what is mounted at exactly this folder. */
function mountSource(directory: string): string | undefined {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const words = line.split(' ')
    if (words[4] === directory) return words[words.indexOf('-') + 2]
  }
  return undefined
}

function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
