import { spawnSync } from 'node:child_process'
import {
  closeSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import koffi from 'koffi'
import type { Random } from './random.ts'

const READ_MAX = 1024 * 1024
const PAGE = 4096
const PROT_READ = 1
const MAP_SHARED = 1
const FADV_DONTNEED = 4
/** Files that stay open, through kills and upgrades. */
const HELD_MAX = 12

const libc = koffi.load('libc.so.6')
const mmap = libc.func('void *mmap(void *at, size_t bytes, int protection, int flags, int fd, int64_t offset)')
const munmap = libc.func('int munmap(void *at, size_t bytes)')
const memcmp = libc.func('int memcmp(void *one, void *other, size_t bytes)')
const fadvise = libc.func('int posix_fadvise(int fd, int64_t offset, int64_t bytes, int advice)')

/** What went wrong, for the line that tells of it. */
interface Fault {
  readonly at: string
  readonly kind: 'wrong' | 'error'
  readonly operation: string
  readonly path: string
  readonly what: string
}

/** The operation that took longest. */
export interface Stall {
  readonly ms: number
  readonly operation: string
  readonly path: string
  /** When it ended. */
  readonly at: string
}

/** A file open at both places. */
interface Pair {
  readonly path: string
  readonly here: number
  readonly there: number
  readonly bytes: number
}

type Operation = (typeof OPERATIONS)[number][0]
/** With how often each comes. */
const OPERATIONS = [
  ['read', 60],
  ['readHeld', 30],
  ['map', 15],
  ['look', 12],
  ['walk', 2],
  ['execute', 2],
  ['write', 6],
] as const

/** Does one random thing after another under `place` and compares with `reference`. Everything is synchronous, as programs are. */
export class Torturer {
  faults = 0
  readonly counts: Record<string, number> = {}
  stall: Stall = { ms: 0, operation: '', path: '', at: '' }
  readonly #place: string
  readonly #reference: string
  readonly #random: Random
  readonly #folder: string | undefined
  readonly #files: string[] = []
  readonly #folders: string[] = ['']
  readonly #held: Pair[] = []
  readonly #mine = Buffer.allocUnsafe(READ_MAX)
  readonly #theirs = Buffer.allocUnsafe(READ_MAX)
  #path = ''

  constructor(place: string, reference: string, random: Random, folder: string | undefined) {
    this.#place = place
    this.#reference = reference
    this.#random = random
    this.#folder = folder
    this.#list('')
  }

  /** One operation, timed; what it throws is a fault. */
  one(): void {
    const operation = this.#choose()
    const begun = performance.now()
    try {
      this[operation]()
      this.counts[operation] = (this.counts[operation] ?? 0) + 1
    } catch (error) {
      this.#report('error', operation, error instanceof Error ? error.message : String(error))
    }
    const ms = Math.round(performance.now() - begun)
    if (ms > this.stall.ms) this.stall = { ms, operation, path: this.#path, at: new Date().toISOString() }
  }

  close(): void {
    for (const pair of this.#held.splice(0)) closePair(pair)
  }

  read(): void {
    const pair = this.#open(this.#file())
    try {
      this.#compareRange(pair, 'read')
    } finally {
      closePair(pair)
    }
  }

  readHeld(): void {
    if (this.#held.length < HELD_MAX) this.#held.push(this.#open(this.#file()))
    const pair = this.#random.pick(this.#held)
    this.#path = pair.path
    this.#compareRange(pair, 'readHeld')
    if (!this.#random.chance(0.05)) return
    this.#held.splice(this.#held.indexOf(pair), 1)
    closePair(pair)
  }

  map(): void {
    const pair = this.#open(this.#file())
    try {
      if (pair.bytes === 0) return
      this.#forget(pair)
      const offset = this.#random.int(0, Math.ceil(pair.bytes / PAGE)) * PAGE
      const bytes = Math.min(pair.bytes - offset, this.#random.int(1, READ_MAX))
      const [mine, theirs] = [pair.here, pair.there].map((fd) => mapped(fd, offset, bytes))
      const differs = memcmp(mine, theirs, bytes) !== 0
      for (const at of [mine, theirs]) munmap(at, bytes)
      if (differs) this.#report('wrong', 'map', `${bytes} bytes at ${offset}`)
    } finally {
      closePair(pair)
    }
  }

  /** Attributes, targets, and names that are not there. */
  look(): void {
    const path = (this.#path = this.#random.chance(0.2) ? this.#random.pick(this.#folders) : this.#file())
    const difference = compareAttributes(join(this.#place, path), join(this.#reference, path))
    if (difference !== undefined) this.#report('wrong', 'look', difference)
    const absent = join(this.#place, this.#random.pick(this.#folders), `absent-${this.#random.int(0, 1000)}`)
    if (lstatSync(absent, { throwIfNoEntry: false }) !== undefined) this.#report('wrong', 'look', `${absent} is there`)
  }

  walk(): void {
    const pending = [this.#random.pick(this.#folders)]
    for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
      this.#path = path
      const [mine, theirs] = [this.#place, this.#reference].map((at) => readdirSync(join(at, path ?? '')).toSorted())
      const ours = (mine ?? []).filter((name) => path !== '' || !name.startsWith('written-'))
      if (ours.join('/') !== theirs?.join('/'))
        this.#report('wrong', 'walk', `${ours.length} of ${theirs?.length} names`)
      for (const name of theirs ?? []) {
        const below = join(path, name)
        const difference = compareAttributes(join(this.#place, below), join(this.#reference, below))
        if (difference !== undefined) this.#report('wrong', 'walk', `${name}: ${difference}`)
        if (this.#folders.includes(below)) pending.push(below)
      }
    }
  }

  execute(): void {
    this.#path = 'sh'
    const number = this.#random.int(0, 1000)
    const done = spawnSync(join(this.#place, 'sh'), ['-c', `echo $((${number} * 3))`], { encoding: 'utf8' })
    if (done.error) throw done.error
    if (done.status !== 0) this.#report('error', 'execute', `ended with ${done.status ?? done.signal}: ${done.stderr}`)
    else if (done.stdout !== `${number * 3}\n`) this.#report('wrong', 'execute', `said ${done.stdout}`)
  }

  /** In our own folder of a writable place. */
  write(): void {
    const folder = join(this.#place, `written-${this.#folder}`)
    mkdirSync(folder, { recursive: true })
    const path = join(folder, `file-${this.#random.int(0, 20)}`)
    this.#path = path
    const content = this.#random.bytes(this.#random.int(0, 20_000))
    writeFileSync(`${path}.new`, content)
    renameSync(`${path}.new`, path)
    if (!readFileSync(path).equals(content)) this.#report('wrong', 'write', 'not what was written')
    if (this.#random.chance(0.3)) rmSync(path)
  }

  #choose(): Operation {
    const sum = OPERATIONS.reduce((total, [, weight]) => total + weight, 0)
    let left = this.#random.int(0, sum)
    for (const [operation, weight] of OPERATIONS) {
      left -= weight
      if (left < 0) return operation === 'write' && this.#folder === undefined ? 'read' : operation
    }
    return 'read'
  }

  #file(): string {
    return (this.#path = this.#random.chance(0.1) ? 'large' : this.#random.pick(this.#files))
  }

  #open(path: string): Pair {
    const here = openSync(join(this.#place, path), 'r')
    const there = openSync(join(this.#reference, path), 'r')
    const bytes = fstatSync(there).size
    if (fstatSync(here).size !== bytes) this.#report('wrong', 'open', `has ${fstatSync(here).size} bytes, not ${bytes}`)
    return { path, here, there, bytes }
  }

  #compareRange(pair: Pair, operation: string): void {
    this.#forget(pair)
    const offset = this.#random.int(0, pair.bytes + 100)
    const bytes = this.#random.chance(0.5) ? this.#random.int(1, READ_MAX) : this.#random.int(1, 5000)
    const mine = readFully(pair.here, this.#mine, bytes, offset)
    const theirs = readFully(pair.there, this.#theirs, bytes, offset)
    if (mine !== theirs) this.#report('wrong', operation, `${mine} bytes at ${offset}, not ${theirs}`)
    else if (this.#mine.compare(this.#theirs, 0, theirs, 0, mine) !== 0) {
      let first = 0
      while (this.#mine[first] === this.#theirs[first]) first += 1
      this.#report('wrong', operation, `${bytes} bytes at ${offset}: the first that differs is ${offset + first}`)
    }
  }

  /** Half of the reads come past the page cache, to the server. */
  #forget(pair: Pair): void {
    if (this.#random.chance(0.5)) fadvise(pair.here, 0, 0, FADV_DONTNEED)
  }

  #report(kind: Fault['kind'], operation: string, what: string): void {
    const fault: Fault = { at: new Date().toISOString(), kind, operation, path: this.#path, what }
    console.log(JSON.stringify(fault))
    this.faults += 1
  }

  #list(path: string): void {
    for (const entry of readdirSync(join(this.#reference, path), { withFileTypes: true })) {
      const below = join(path, entry.name)
      if (entry.isFile()) this.#files.push(below)
      if (!entry.isDirectory()) continue
      this.#folders.push(below)
      this.#list(below)
    }
  }
}

function closePair({ here, there }: Pair): void {
  closeSync(here)
  closeSync(there)
}

function readFully(fd: number, out: Buffer, bytes: number, offset: number): number {
  let done = 0
  while (done < bytes) {
    const got = readSync(fd, out, done, bytes - done, offset + done)
    if (got === 0) break
    done += got
  }
  return done
}

function mapped(fd: number, offset: number, bytes: number): unknown {
  const at: unknown = mmap(null, bytes, PROT_READ, MAP_SHARED, fd, offset)
  if (koffi.address(at) === 0xffffffffffffffffn) throw new Error(`cannot map: errno ${koffi.errno()}`)
  return at
}

/** What differs, or undefined. A folder's size and link count depend on the file system it is on. */
function compareAttributes(mine: string, theirs: string): string | undefined {
  const [here, there] = [lstatSync(mine, { bigint: true }), lstatSync(theirs, { bigint: true })]
  for (const key of ['mode', 'uid', 'gid'] as const) {
    if (here[key] !== there[key]) return `${key} is ${here[key]}, not ${there[key]}`
  }
  if (there.isDirectory()) return undefined
  for (const key of ['size', 'nlink', 'mtimeNs'] as const) {
    if (here[key] !== there[key]) return `${key} is ${here[key]}, not ${there[key]}`
  }
  if (!there.isSymbolicLink()) return undefined
  const [target, right] = [readlinkSync(mine), readlinkSync(theirs)]
  return target === right ? undefined : `leads to ${target}, not ${right}`
}
