import { describeError, FlistError, LIMITS, systemCode } from '../../base/index.ts'
import type { Log } from '../../base/index.ts'
import { codecReady } from '../codec-tools.ts'
import type { BlockRef } from '../port.ts'
import { Appender } from './appender.ts'
import { Batch, nameOf } from './batch.ts'
import { ClaimDesk } from './claim-desk.ts'
import { Connection } from './connection.ts'
import type { Ledger } from './ledger.ts'
import { fits } from './layout.ts'
import type { Found, Location, Place } from './layout.ts'
import { matchesKey } from './matches-key.ts'
import { addPins, demand } from './pins.ts'
import { RecentKeys } from './recent-keys.ts'
import { RoomGuard } from './room-guard.ts'
import { SegmentFiles, ShortSegmentError } from './segment-files.ts'
import { removeSegment } from './space-keeper.ts'
import { WholeFiles } from './whole-files.ts'

export interface BlockCacheOptions {
  readonly bytesMax: number
  /** Bytes of free disk the cache leaves alone. */
  readonly freeBytesMin: number
  readonly log: Log
  /** Files of this size and more get a segment of their own; `LIMITS.ownSegmentBytesMin`. */
  readonly ownSegmentBytesMin?: number
  /** Hashes each block at each `find`, not only what an earlier boot left. */
  readonly verifyAlways?: boolean
  /** Milliseconds since 1970, for last uses. */
  readonly now?: () => number
}

const TOUCH_S = 60
const TOUCHED_MAX = 4096 // of segments that others removed nobody hears again
const RETRY_FLUSH_MS = 1000
const BATCH_ROWS_MAX = 256

/**
 * Plain blocks on the local disk, shared by all mounts and processes of a user. A block is known by its *key*, the hash of
 * its plain bytes, never by its id, about which a store or an archive could lie (decision 040).
 * For one thread; several caches may share a folder. A cache that cannot be written never fails a reader: `put` answers
 * undefined, and writing is tried again later.
 */
export class BlockCache {
  readonly dir: string
  /** For `CachedReader`: one fetch per block among processes. */
  readonly claims: ClaimDesk
  /** Large files that lie whole in a segment of their own, for passthrough. */
  readonly whole: WholeFiles
  readonly #log: Log
  readonly #now: () => number
  readonly #bytesMax: number
  readonly #verifyAlways: boolean
  readonly #ownSegmentBytesMin: number
  readonly #connection: Connection
  readonly #files: SegmentFiles
  readonly #appender: Appender
  readonly #room: RoomGuard
  readonly #batch = new Batch()
  readonly #recent = new RecentKeys()
  /** Unix seconds of the last use written down, by segment. */
  readonly #touched = new Map<number, number>()
  #timer: NodeJS.Timeout | undefined
  #immediate: NodeJS.Immediate | undefined
  #closed = false

  private constructor(dir: string, options: BlockCacheOptions) {
    this.dir = dir
    this.#log = options.log
    this.#now = options.now ?? Date.now
    this.#bytesMax = options.bytesMax
    this.#verifyAlways = options.verifyAlways ?? false
    this.#ownSegmentBytesMin = options.ownSegmentBytesMin ?? LIMITS.ownSegmentBytesMin
    const eighth = Math.floor(options.bytesMax / 8)
    const segmentBytes = Math.min(LIMITS.segmentBytes, Math.max(LIMITS.segmentBytesMin, eighth))
    this.#files = new SegmentFiles(dir)
    this.#appender = new Appender(this.#files, segmentBytes, (segment) => void this.#discard(segment))
    this.#connection = new Connection(dir, options.log, () => this.#reset())
    this.#room = new RoomGuard(
      { dir, bytesMax: options.bytesMax, freeBytesMin: options.freeBytesMin, segmentBytes },
      this.#files,
      this.#connection,
      options.log,
      {
        now: () => this.#seconds(),
        carry: (key, from) => this.#carry(key, from),
        lost: (segment) => this.#lose(segment),
      },
    )
    this.claims = new ClaimDesk({
      find: (key) => this.find(key),
      ledger: () => this.#connection.usable(),
      schedule: () => this.#schedule(true),
      failed: (error) => this.#connection.failed(error),
    })
    this.whole = new WholeFiles(this, this.#connection, this.#appender, this.#files, this.#batch)
  }

  /**
   * Throws FLIST_CACHE_UNUSABLE for a layout newer than ours and for a folder that others may write. A disk that is full
   * or cannot be written is no error.
   */
  static open(dir: string, options: BlockCacheOptions): Promise<BlockCache> {
    const cache = new BlockCache(dir, options)
    try {
      cache.#connection.open()
      cache.#connection.usable()?.setMeta('bytes_max', options.bytesMax)
    } catch (error) {
      cache.#files.close()
      if (error instanceof FlistError) return Promise.reject(error)
      cache.#connection.failed(error)
    }
    return Promise.resolve(cache)
  }

  /** False while blocks cannot be written: they are then served from memory. */
  get isWritable(): boolean {
    return this.#connection.usable() !== undefined
  }

  /**
   * Where the block with this key lies, or undefined. A row of an earlier boot is verified first (that needs
   * `prepareCodec()`; before it, such a block counts as absent).
   */
  find(key: Buffer): Found | undefined {
    const pending = this.#batch.rows.size > 0 ? this.#batch.rows.get(nameOf(key)) : undefined
    if (pending !== undefined) return this.#verifyAlways ? this.#sound(key, pending.at, true) : pending.at
    const row = this.#row(key)
    const found = row === undefined ? undefined : this.#sound(key, row.location, row.fresh)
    if (found === undefined) return undefined
    this.touch([found.segment])
    this.#recent.add(nameOf(key), this.#now())
    return found
  }

  /**
   * Looks up `keys` (back to back, `keyBytes` each) from block `from` up to `to`, for a mount's table; large archives go
   * in slices. Leaves out what must be verified first: a read finds that through `find`. Returns how many were found.
   */
  findMany(
    keys: Buffer,
    keyBytes: number,
    from: number,
    to: number,
    found: (block: number, at: Location) => void,
  ): number {
    let count = 0
    for (let block = from; block < to; block += 1) {
      const row = this.#row(keys.subarray(block * keyBytes, (block + 1) * keyBytes), block === from)
      if (row === undefined || !row.fresh || !this.#files.covers(row.location)) continue
      found(block, row.location)
      count += 1
    }
    return count
  }

  /**
   * Keeps verified plain bytes. The location holds at once; other processes see the block a few milliseconds later.
   * Undefined when nothing can be written now.
   */
  put(ref: BlockRef, bytes: Uint8Array, place?: Place): Location | undefined {
    if (bytes.length < 1 || bytes.length > LIMITS.blockBytesMax) {
      throw new RangeError(`A block has 1 to ${LIMITS.blockBytesMax} bytes, not ${bytes.length}`)
    }
    const ledger = this.#connection.usable()
    if (ledger === undefined) return undefined
    try {
      if (!this.#room.admits(ledger, bytes.length)) return undefined
      const wantsPlace = place !== undefined && this.allowsOwn(place.fileBytes) && fits(place, bytes.length)
      const inPlace = wantsPlace ? this.#appender.writeInPlace(ledger, bytes, place, this.#seconds()) : undefined
      const at = inPlace ?? this.#appender.append(ledger, bytes, this.#seconds())
      this.#batch.add(ref.key, at, inPlace !== undefined)
      this.#schedule(this.#batch.rows.size >= BATCH_ROWS_MAX)
      return at
    } catch (error) {
      if (error instanceof ShortSegmentError) void this.#discard(error.segment)
      else this.#connection.failed(error)
      // A segment's file was removed: the next block goes elsewhere.
      if (systemCode(error) === 'ENOENT') this.#appender.reset()
      return undefined
    }
  }

  /** Whether a file of this size gets a segment of its own: a larger one could not be evicted in part. */
  allowsOwn(fileBytes: number): boolean {
    return fileBytes >= this.#ownSegmentBytesMin && fileBytes <= this.#bytesMax / 4
  }

  /** The bytes at a location, or undefined when its segment is gone or too short. */
  read(at: Location): Buffer | undefined {
    try {
      return this.#files.read(at)
    } catch (error) {
      this.#log.warn('cache segment cannot be read', { segment: at.segment, reason: describeError(error) })
      return undefined
    }
  }

  /** The block's bytes are not where the cache says, or are wrong: its row is removed. */
  forget(key: Buffer): void {
    const at = this.#batch.rows.get(nameOf(key))?.at ?? this.#row(key)?.location
    if (at === undefined) return
    this.#batch.drop(key, at)
    this.#files.forget(at.segment)
    this.flush()
  }

  /** A segment's file was not there (ENOENT): its rows are removed. Does nothing when the file is there after all. */
  async forgetSegment(segment: number): Promise<void> {
    this.#files.forget(segment)
    if (!this.#files.exists(segment)) await this.#discard(segment)
  }

  /** Removes a segment that is not what its rows say. */
  async #discard(segment: number): Promise<void> {
    this.#lose(segment)
    this.#connection.suspectMoved()
    const ledger = this.#connection.usable()
    if (ledger === undefined) return
    try {
      await removeSegment(ledger, this.#files, segment)
    } catch (error) {
      if (ledger === this.#connection.current) this.#connection.failed(error)
    }
  }

  /** These segments were used now; written down at most once a minute for each. */
  touch(segments: Iterable<number>): void {
    const now = this.#seconds()
    for (const segment of segments) {
      if (Math.abs(now - (this.#touched.get(segment) ?? 0)) < TOUCH_S) continue
      if (this.#touched.size >= TOUCHED_MAX) this.#touched.clear()
      this.#touched.set(segment, now)
      this.#batch.touch(segment, now)
      this.#schedule(false)
    }
  }

  /** Lets go of segments that others removed; call now and then. */
  releaseUnlinked(): void {
    this.#files.releaseUnlinked()
  }

  /** The claim on `key` ends with the next transaction, which holds the block's row too. */
  release(key: Buffer): void {
    this.#batch.release(key)
    this.#schedule(false)
  }

  /** Blocks with these keys (back to back) stay until `unpin(name)`: their segments are not evicted. */
  pin(name: string, keys: Buffer, keyBytes: 16 | 32): void {
    addPins(demand(this.#connection, this.dir), name, keys, keyBytes)
  }

  unpin(name: string): void {
    demand(this.#connection, this.dir).removePins(name)
  }

  /** Commits what waits, now. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#commit(true)
  }

  /**
   * Claims are due at the end of the turn, rows not before 5 ms or 256 of them: a row dirties a page of its own, and many
   * rows share pages (a block costs 17 us with 64 rows to a transaction, 7 us with 256).
   */
  #commit(withRows: boolean): void {
    clearImmediate(this.#immediate)
    this.#immediate = undefined
    if (!this.claims.hasQueued && (this.#batch.isEmpty || !withRows)) return
    const ledger = this.#connection.usable()
    if (ledger === undefined) {
      this.#postpone()
      return
    }
    try {
      const lost = ledger.transaction(() => this.#write(ledger, withRows))
      if (withRows) this.#batch.clear()
      else this.#batch.clearDrops()
      for (const segment of lost) this.#lose(segment)
      this.#connection.succeeded()
    } catch (error) {
      this.#connection.failed(error)
      this.#postpone()
      return
    }
    this.claims.settle()
  }

  #write(ledger: Ledger, withRows: boolean): number[] {
    let lost: number[] = []
    if (withRows) lost = this.#batch.write(ledger, this.#seconds())
    else this.#batch.writeDrops(ledger)
    this.claims.write(ledger)
    return lost
  }

  /** Removes what crashes left, then segments until the limits hold. Returns the segments that went. */
  async tidy(): Promise<number[]> {
    this.flush()
    const ledger = this.#connection.usable()
    return ledger === undefined ? [] : this.#room.tidy(ledger)
  }

  /** Commits what waits and lets go of everything. May be called again. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.claims.close()
    await this.#room.idle()
    this.flush()
    clearTimeout(this.#timer)
    clearImmediate(this.#immediate)
    const ledger = this.#connection.current
    try {
      if (ledger !== undefined) this.#appender.seal(ledger)
    } catch (error) {
      this.#log.debug('cache segment stays open', { reason: describeError(error) })
    }
    this.#connection.close()
    this.#files.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #row(key: Buffer, learn = false): { location: Location; fresh: boolean } | undefined {
    try {
      if (learn) this.#connection.current?.learnKeys()
      return this.#connection.current?.find(key)
    } catch (error) {
      this.#connection.failed(error)
      return undefined
    }
  }

  /** Nothing torn is believed: bytes of an earlier boot are hashed before their first use in this one. */
  #sound(key: Buffer, at: Location, fresh: boolean): Found | undefined {
    const isCovered = this.#files.covers(at)
    if (isCovered && fresh && !this.#verifyAlways) return at
    if (isCovered && !codecReady()) return undefined
    const content = isCovered ? this.read(at) : undefined
    const isRight = content !== undefined && matchesKey(key, content)
    if (!isRight || !fresh) this.#schedule(false)
    if (isRight && !fresh) this.#batch.confirm(key, at)
    if (isRight) return this.#verifyAlways ? { ...at, content } : at
    this.#log.warn('cached block is damaged and will be fetched again', { segment: at.segment, offset: at.offset })
    this.#batch.drop(key, at)
    return undefined
  }

  #carry(key: Buffer, from: number): void {
    if (!this.#recent.has(nameOf(key))) return
    const row = this.#row(key)
    const ledger = this.#connection.current
    if (row === undefined || ledger === undefined || row.location.segment !== from) return
    const found = this.#sound(key, row.location, row.fresh)
    const bytes = found === undefined ? undefined : (found.content ?? this.read(found))
    if (bytes === undefined) return
    this.#batch.add(key, this.#appender.append(ledger, bytes, this.#seconds()), false)
    this.#schedule(false)
  }

  #lose(segment: number): void {
    this.#batch.dropSegment(segment)
    this.#appender.abandon(segment)
    this.#files.forget(segment)
    this.#touched.delete(segment)
  }

  #reset(): void {
    this.#batch.clear()
    this.#appender.reset()
    this.#files.close()
    this.#touched.clear()
  }

  /** The database cannot be written now: nobody waits for it. */
  #postpone(): void {
    this.#batch.trim()
    this.claims.giveUp()
    if (!this.#closed) this.#timer ??= setTimeout(() => this.flush(), RETRY_FLUSH_MS).unref()
  }

  #schedule(soon: boolean): void {
    if (this.#closed) return
    if (soon) this.#immediate ??= setImmediate(() => this.#commit(this.#batch.rows.size >= BATCH_ROWS_MAX))
    else this.#timer ??= setTimeout(() => this.flush(), LIMITS.cacheBatchMs)
  }

  #seconds(): number {
    return Math.floor(this.#now() / 1000)
  }
}
