import { describeError, LIMITS } from '../../base/index.ts'
import type { Log } from '../../base/index.ts'
import type { Connection } from './connection.ts'
import type { Ledger } from './ledger.ts'
import type { SegmentFiles } from './segment-files.ts'
import { evict, isOver, measureSpace, sweep } from './space-keeper.ts'
import type { EvictionHooks, SpaceLimits } from './space-keeper.ts'

const SPACE_CHECK_MS = 5000
const SWEEP_MS = 3_600_000

/** Decides before each write whether there is room, and has segments removed in the background when there is not. */
export class RoomGuard {
  readonly #limits: SpaceLimits
  readonly #files: SegmentFiles
  readonly #connection: Connection
  readonly #log: Log
  readonly #hooks: EvictionHooks
  /** Bytes that may be written before the next look. */
  #budget = 0
  /** By the clock that is never set: milliseconds since the process began. */
  #checkAt = 0
  #sweepAt = 0
  #evicting: Promise<number[]> | undefined

  constructor(limits: SpaceLimits, files: SegmentFiles, connection: Connection, log: Log, hooks: EvictionHooks) {
    this.#limits = limits
    this.#files = files
    this.#connection = connection
    this.#log = log
    this.#hooks = hooks
  }

  /** False: keep these bytes in memory only. Throws what SQLite or statfs throws. */
  admits(ledger: Ledger, bytes: number): boolean {
    const now = performance.now()
    if (this.#budget < bytes || now > this.#checkAt) this.#look(ledger, now)
    if (this.#budget < bytes) return false
    this.#budget -= bytes
    return true
  }

  #look(ledger: Ledger, now: number): void {
    this.#checkAt = now + SPACE_CHECK_MS
    const { bytesMax, freeBytesMin, segmentBytes, dir } = this.#limits
    const space = measureSpace(ledger, dir)
    if (isOver(space, this.#limits)) this.#begin(ledger)
    if (now > this.#sweepAt) {
      this.#sweepAt = now + SWEEP_MS
      sweep(ledger, dir)
    }
    // A segment more than allowed while eviction is at work; nothing where it finds nothing to remove.
    const room = Math.min(bytesMax + segmentBytes - space.cachedBytes, space.freeBytes - freeBytesMin)
    this.#budget = Math.max(0, Math.min(room, Math.max(segmentBytes / 8, LIMITS.blockBytesMax)))
  }

  #begin(ledger: Ledger): void {
    this.#evicting ??= this.#evict(ledger).finally(() => {
      this.#evicting = undefined
    })
  }

  async #evict(ledger: Ledger): Promise<number[]> {
    try {
      const gone = await evict(ledger, this.#files, this.#limits, this.#hooks)
      if (gone.length > 0) this.#log.debug('cache segments removed', { count: gone.length })
      this.#checkAt = 0
      return gone
    } catch (error) {
      // The database was closed or replaced meanwhile: what was begun is ended by the next eviction.
      if (ledger === this.#connection.current) this.#connection.failed(error)
      else this.#log.debug('cache eviction stopped', { reason: describeError(error) })
      return []
    }
  }

  /** Removes orphans, then segments until the limits hold. Returns what went. */
  async tidy(ledger: Ledger): Promise<number[]> {
    await this.idle()
    const orphans = sweep(ledger, this.#limits.dir)
    this.#begin(ledger)
    return [...orphans, ...((await this.#evicting) ?? [])]
  }

  async idle(): Promise<void> {
    await this.#evicting
  }
}
