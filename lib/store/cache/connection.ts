import { describeError, FlistError, systemCode } from '../../base/index.ts'
import type { Log } from '../../base/index.ts'
import { databaseInode, faultOf, setAside } from './database.ts'
import { Ledger } from './ledger.ts'
import { thisProcess } from './writer-identity.ts'
import type { Identity } from './writer-identity.ts'

const MOVED_CHECK_MS = 250
const RETRY_MS_MIN = 1000
/** New databases that are begun before a failure counts. */
const RENEWALS_MAX = 3
const RETRY_MS_MAX = 30_000

/** Keeps the database open through everything that may befall it: busy, full, damaged, removed under us. */
export class Connection {
  readonly #dir: string
  readonly #log: Log
  readonly #me: Identity = thisProcess()
  /** Called when the database is another one: nothing known of segments holds. */
  readonly #onReset: () => void
  #ledger: Ledger | undefined
  /** While nothing can be written, and the database could be opened for reading. */
  #reading: Ledger | undefined
  /** Why nothing can be written, as the last try found. */
  failure: unknown
  #staleCheckAt = 0
  #retryAt = 0
  #retryMs = RETRY_MS_MIN
  #movedCheckAt = 0
  #closed = false

  constructor(dir: string, log: Log, onReset: () => void) {
    this.#dir = dir
    this.#log = log
    this.#onReset = onReset
  }

  /** Throws FLIST_CACHE_UNUSABLE; other failures leave the cache unusable until a later try. */
  open(): void {
    try {
      this.#open()
    } catch (error) {
      if (error instanceof FlistError) throw error
      this.#backOff(error)
    }
  }

  /** For reading: the database if it is open, whether or not it can be written. */
  get current(): Ledger | undefined {
    if (this.#ledger !== undefined) return this.#ledger
    if (this.#reading !== undefined && clock() > this.#staleCheckAt) {
      this.#staleCheckAt = clock() + MOVED_CHECK_MS
      if (this.#reading.isStale()) this.#read()
    }
    return this.#reading
  }

  /** For writing: undefined while the database is closed or a failed write is not long enough ago. */
  usable(): Ledger | undefined {
    if (this.#closed) return undefined
    const now = clock()
    if (now < this.#retryAt) return undefined
    if (this.#ledger !== undefined && now > this.#movedCheckAt) this.#checkMoved(now)
    if (this.#ledger === undefined) this.#reopen()
    return this.#ledger
  }

  /** Looks at the next use whether somebody removed or replaced the database. */
  suspectMoved(): void {
    this.#movedCheckAt = 0
  }

  succeeded(): void {
    this.#retryMs = RETRY_MS_MIN
  }

  /** A statement or a write failed: decides what that means. Never throws. */
  failed(error: unknown): void {
    const broken = faultOf(error) === 'broken' && this.#ledger !== undefined
    if (!broken) {
      this.#movedCheckAt = 0
      if (this.#ledger === undefined) this.#closeReading()
      // A file that is gone is no reason to wait: whoever asked puts the next block elsewhere.
      if (systemCode(error) !== 'ENOENT') this.#backOff(error)
      return
    }
    this.#log.warn('cache database is damaged and starts anew', { cache: this.#dir, reason: describeError(error) })
    const inode = this.#ledger?.inode ?? 0n
    this.#drop()
    try {
      setAside(this.#dir, inode)
    } catch (cause) {
      this.#backOff(cause)
    }
  }

  close(): void {
    this.#closed = true
    this.#closeReading()
    this.#ledger?.close()
    this.#ledger = undefined
  }

  #open(): void {
    // SQLite shares one view of the log's index in a process: while one reads only, the other could not write.
    this.#closeReading()
    for (let tries = 1; this.#ledger === undefined; tries += 1) {
      try {
        this.#ledger = new Ledger(this.#dir, this.#me)
      } catch (error) {
        // Another process that finds it damaged at the same time may set aside what this one has just begun.
        if (error instanceof FlistError || faultOf(error) !== 'broken' || tries > RENEWALS_MAX) throw error
        this.#log.warn('cache database is damaged and starts anew', { cache: this.#dir, reason: describeError(error) })
        setAside(this.#dir, 0n)
      }
    }
    this.#movedCheckAt = clock() + MOVED_CHECK_MS
  }

  #closeReading(): void {
    this.#reading?.close()
    this.#reading = undefined
  }

  /** What a disk that cannot be written holds is read all the same: a cache may come filled, with an image. */
  #read(): void {
    this.#closeReading()
    if (this.#closed) return
    try {
      this.#reading = Ledger.forReading(this.#dir, this.#me)
      this.#staleCheckAt = clock() + MOVED_CHECK_MS
    } catch (error) {
      this.#log.debug('cache cannot be read', { cache: this.#dir, reason: describeError(error) })
    }
  }

  #reopen(): void {
    try {
      this.#open()
    } catch (error) {
      this.#backOff(error)
    }
  }

  #checkMoved(now: number): void {
    this.#movedCheckAt = now + MOVED_CHECK_MS
    if (databaseInode(this.#dir) === this.#ledger?.inode) return
    this.#log.warn('cache database was removed or replaced', { cache: this.#dir })
    this.#drop()
  }

  #drop(): void {
    this.#ledger?.close()
    this.#ledger = undefined
    this.#onReset()
  }

  #backOff(error: unknown): void {
    this.failure = error
    if (this.#retryMs === RETRY_MS_MIN) {
      this.#log.warn('cache cannot be written, blocks are served from memory', {
        cache: this.#dir,
        reason: describeError(error),
      })
    }
    this.#retryAt = clock() + this.#retryMs
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX)
    if (this.#ledger === undefined && this.#reading === undefined) this.#read()
  }
}

/** Milliseconds that only go forward: a clock set back must not end all writing. */
function clock(): number {
  return performance.now()
}
