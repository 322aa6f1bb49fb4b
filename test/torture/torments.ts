import {
  closeSync,
  existsSync,
  ftruncateSync,
  globSync,
  openSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Behaviour, BlockServer } from '../e2e/block-server.ts'
import type { Lab } from '../e2e/lab.ts'
import type { Random } from './random.ts'

const MIB = 1024 * 1024
/** What statfs(2) calls a tmpfs. */
const TMPFS = 0x0102_1994
const BAD: readonly Behaviour[] = [
  'stall',
  'dead',
  'without',
  'corrupt',
  'busy',
  'cut',
  'halting',
  'short',
  'forbidden',
  'broken',
]

/**
 * One store is bad or none; the other serves, at its own pace. Before another one is bad both serve for a while, so that a read which
 * one of them just refused finds the other. Returns what it did, for the record.
 */
export function changeStores(stores: readonly BlockServer[], random: Random): string {
  const before = stores.findIndex(({ behaviour }) => behaviour !== 'serve')
  const wished = random.chance(0.2) ? -1 : random.int(0, stores.length)
  const bad = before >= 0 && wished !== before ? -1 : wished
  const behaviour = random.pick(BAD)
  for (const [nth, store] of stores.entries()) {
    store.behaviour = nth === bad ? behaviour : 'serve'
    store.delayMs = random.chance(0.3) ? random.int(0, 60) : 0
  }
  return bad < 0 ? 'both stores serve' : `store ${bad} is ${behaviour}`
}

/** What is done to a cache folder. `thorough`: its readers check each block each time, so that any byte may be changed. */
export class CacheTorment {
  readonly #lab: Lab
  readonly #cache: string
  readonly #random: Random
  readonly #thorough: boolean

  constructor(lab: Lab, cache: string, random: Random, thorough: boolean) {
    this.#lab = lab
    this.#cache = cache
    this.#random = random
    this.#thorough = thorough
  }

  /** One of all torments. Returns what it did. */
  async one(): Promise<string> {
    const torments = [
      () => this.#fill(),
      () => this.#fill(),
      () => this.#empty(),
      () => this.#damageSegment(),
      () => this.#damageSegment(),
      () => this.#damageDatabase(),
      () => this.#damageRows(),
      () => this.#damageRows(),
      () => this.#tool(['prune', '--all']),
      () => this.#tool(['prune', '--to', `${this.#random.int(1, 100)}M`]),
      () => this.#tool(['verify', '--repair']),
    ]
    try {
      return await this.#random.pick(torments)()
    } catch (error) {
      // Even harm may need room, where a page of a file was a hole.
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return 'no room to do harm'
      throw error
    }
  }

  /** The disk has room again. */
  calm(): void {
    rmSync(this.#filler, { force: true })
  }

  get #filler(): string {
    return join(this.#cache, 'filler')
  }

  /** Leaves this little of the disk, or all of it. */
  async #fill(): Promise<string> {
    if (existsSync(this.#filler) && this.#random.chance(0.6)) {
      this.calm()
      return 'the disk has room again'
    }
    this.calm()
    const { bavail, bsize, type } = statfsSync(this.#cache)
    // A run that is ended early unmounts it first: what is below is the machine's own disk.
    if (type !== TMPFS) return 'the disk is gone'
    const leave = this.#random.pick([0, 0, 100_000, 5 * MIB, 255 * MIB, 260 * MIB])
    const bytes = bavail * bsize - leave
    if (bytes > 0) await this.#lab.run('fallocate', ['-l', String(bytes), this.#filler])
    return `the disk has ${leave} bytes left`
  }

  #empty(): string {
    const what = this.#random.pick(['v1', 'v1/segments', 'v1/cache.db*', 'v1/index*', 'v1/segments/*'])
    try {
      for (const path of globSync(join(this.#cache, what))) rmSync(path, { recursive: true, force: true })
    } catch (error) {
      // A server makes files as fast as they are removed.
      if (!(error instanceof Error) || (error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error
      return `${what} is removed but for what was made meanwhile`
    }
    return `${what} is removed`
  }

  #damageSegment(): string {
    const segments = globSync(join(this.#cache, 'v1/segments/*/*.seg'))
    if (segments.length === 0) return 'no segment to damage'
    const segment = this.#random.pick(segments)
    if (!this.#thorough || this.#random.chance(0.3)) {
      rmSync(segment, { force: true })
      return `${segment} is removed`
    }
    const fd = openSync(segment, 'r+')
    try {
      const { size } = statSync(segment)
      if (this.#random.chance(0.3)) {
        const left = this.#random.int(0, size + 1)
        ftruncateSync(fd, left)
        return `${segment} is cut to ${left} of ${size} bytes`
      }
      const count = this.#random.int(1, 200)
      for (let nth = 0; nth < count && size > 0; nth += 1)
        writeSync(fd, this.#random.bytes(3), 0, 3, this.#random.int(0, size))
      return `${segment} is changed in ${count} places`
    } finally {
      closeSync(fd)
    }
  }

  #damageDatabase(): string {
    const path = join(this.#cache, 'v1/cache.db')
    if (!existsSync(path)) return 'no database to damage'
    const { size } = statSync(path)
    const fd = openSync(path, 'r+')
    try {
      const how = this.#random.pick(['its head', 'its length', 'a page'])
      if (how === 'its head') writeSync(fd, this.#random.bytes(100), 0, 100, 0)
      else if (how === 'its length') ftruncateSync(fd, this.#random.int(0, size))
      else writeSync(fd, Buffer.alloc(4096), 0, 4096, this.#random.int(0, Math.ceil(size / 4096)) * 4096)
      return `the database has lost ${how}`
    } finally {
      closeSync(fd)
    }
  }

  /** Rows that lie, as another boot may have left them: a row of this boot is believed. */
  #damageRows(): string {
    const some = `abs(random()) % ${this.#random.int(1, 20)} = 0`
    const statements = [
      `DELETE FROM block WHERE ${some}`,
      `UPDATE block SET boot = 0, offset = abs(random()) % 100000 * 64 WHERE ${some}`,
      `UPDATE block SET boot = 0, bytes = 1 + abs(random()) % 524288 WHERE ${some}`,
      `UPDATE block SET boot = 0, segment = 4000000000 WHERE ${some}`,
      `DELETE FROM segment WHERE ${some}`,
      'DELETE FROM run',
      'DELETE FROM claim',
    ]
    const statement = this.#random.pick(statements)
    try {
      const database = new DatabaseSync(join(this.#cache, 'v1/cache.db'), { timeout: 100 })
      try {
        database.exec(statement)
      } finally {
        database.close()
      }
      return statement
    } catch (error) {
      return `${statement}: ${error instanceof Error ? error.message : ''}`
    }
  }

  async #tool(words: readonly string[]): Promise<string> {
    const done = await this.#lab.flistfs(['cache', ...words, '--cache', this.#cache])
    return `cache ${words.join(' ')} ended with ${done.code} ${done.stderr.trim()}`
  }
}
