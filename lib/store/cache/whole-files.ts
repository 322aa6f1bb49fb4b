import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Appender } from './appender.ts'
import type { Batch } from './batch.ts'
import type { Connection } from './connection.ts'
import type { Ledger } from './ledger.ts'
import { CACHE_LAYOUT, segmentPath } from './layout.ts'
import type { Location } from './layout.ts'
import type { SegmentFiles } from './segment-files.ts'

const BLOCKS_PER_TURN = 16

interface Finder {
  readonly dir: string
  find(key: Buffer): Location | undefined
  read(at: Location): Buffer | undefined
  allowsOwn(fileBytes: number): boolean
  flush(): void
}

/** Large files that lie whole in a segment of their own, which the kernel can then read itself. */
export class WholeFiles {
  readonly #cache: Finder
  readonly #connection: Connection
  readonly #appender: Appender
  readonly #files: SegmentFiles
  readonly #batch: Batch

  constructor(cache: Finder, connection: Connection, appender: Appender, files: SegmentFiles, batch: Batch) {
    this.#cache = cache
    this.#connection = connection
    this.#appender = appender
    this.#files = files
    this.#batch = batch
  }

  /** The path of the file's segment where `assemble` found it whole since the machine started, else undefined. */
  find(file: string): string | undefined {
    return this.#try((ledger) => {
      const own = ledger.findOwn(file)
      return own?.whole === true && this.#files.bytesOf(own.id) === own.bytes
        ? segmentPath(this.#cache.dir, own.id)
        : undefined
    })
  }

  /**
   * Makes the segment of a large file whole: copies there what the cache holds elsewhere (`keys` back to back, in the
   * file's order). Its path, or undefined when a block is not cached or the file may not have a segment. A file of `fileBytes`
   * that needs more blocks than there are keys is never whole.
   */
  async assemble(
    file: string,
    fileBytes: number,
    keys: Buffer,
    keyBytes: 16 | 32,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const whole = this.find(file)
    if (whole !== undefined) return whole
    const blocks = Math.ceil(fileBytes / CACHE_LAYOUT.placeBytes)
    if (!this.#cache.allowsOwn(fileBytes) || keys.length !== blocks * keyBytes) return undefined
    const now = Math.floor(Date.now() / 1000)
    const segment = this.#try((ledger) => this.#appender.ownSegment(ledger, file, fileBytes, now))
    if (segment === undefined) return undefined
    for (let block = 0; block < blocks; block += 1) {
      const offset = block * CACHE_LAYOUT.placeBytes
      const bytes = Math.min(CACHE_LAYOUT.placeBytes, fileBytes - offset)
      // A copy: the batch keeps it after the caller's buffer may be gone.
      const key = Buffer.from(keys.subarray(block * keyBytes, (block + 1) * keyBytes))
      if (!this.#settle(key, { segment, offset, bytes })) return undefined
      if (block % BLOCKS_PER_TURN === BLOCKS_PER_TURN - 1) await nextTurn()
      if (signal.aborted) return undefined
    }
    this.#cache.flush()
    const marked = this.#try((ledger) => ledger.markWhole(segment))
    return marked === true ? segmentPath(this.#cache.dir, segment) : undefined
  }

  /** Sees to it that the block's bytes lie at `to`. */
  #settle(key: Buffer, to: Location): boolean {
    const from = this.#cache.find(key)
    if (from?.bytes !== to.bytes) return false
    if (from.segment === to.segment && from.offset === to.offset) return true
    const bytes = this.#cache.read(from)
    if (bytes === undefined) return false
    const done = this.#try(() => {
      this.#files.write(to, bytes)
      return true
    })
    // A block that occurs twice in the file has its row at one of its places.
    if (done === true && from.segment !== to.segment) {
      this.#batch.drop(key, from)
      this.#batch.add(key, to, true)
    }
    return done === true
  }

  #try<T>(work: (ledger: Ledger) => T): T | undefined {
    const ledger = this.#connection.usable()
    if (ledger === undefined) return undefined
    try {
      return work(ledger)
    } catch (error) {
      this.#connection.failed(error)
      return undefined
    }
  }
}
