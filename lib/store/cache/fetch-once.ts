import { describeError, FlistError } from '../../base/index.ts'
import type { Log } from '../../base/index.ts'
import { codecReady, prepareCodec } from '../codec-tools.ts'
import { Haste } from '../haste.ts'
import type { BlockReader, BlockRef } from '../port.ts'
import { Seldom } from '../seldom.ts'
import { freeBytes, SharedBytes } from '../spent.ts'
import type { BlockCache } from './block-cache.ts'
import type { ClaimRequest } from './claim-desk.ts'
import type { Found, Location, Place } from './layout.ts'
import { Leavers } from './leavers.ts'
import type { Leaver } from './leavers.ts'

export interface CachedReaderOptions {
  /** Milliseconds a block's failure is answered without asking again; `LIMITS.failureMemoryMs`. */
  readonly failureMemoryMs: number
  readonly log: Log
  /** Milliseconds that only go forward, for the memory of failures. */
  readonly now?: () => number
}

/** At least one of the two is there: a reader ahead gets no bytes of what is in the cache. Read only. */
export interface CachedBlock {
  readonly location: Location | undefined
  readonly bytes: Buffer | undefined
  /** Where there are `bytes`: who calls `done` does not touch them again. */
  readonly shared: SharedBytes | undefined
}

export interface CacheCounters {
  /** Answered from the cache at once. */
  hits: number
  /** Began a fetch, or waited for another process's. */
  misses: number
  /** Joined a fetch of this process. */
  joined: number
  fetched: number
  bytesFetched: number
  /** Had to wait for another process (or another reader of this one). */
  waitedForOther: number
  failures: number
}

/** `fetching`: in flight; `failed`: asked for a moment ago, in vain. */
export type BlockState = 'cached' | 'fetching' | 'failed' | 'absent'

interface Waiter extends Leaver {
  /** Wants the block in the cache, not its bytes. */
  readonly ahead: boolean
  readonly resolve: (block: CachedBlock) => void
  readonly reject: (error: unknown) => void
}

interface Flight {
  readonly ref: BlockRef
  readonly place: Place | undefined
  readonly name: string
  readonly waiters: Set<Waiter>
  /** Ends the fetch; none where nothing is waited for yet. */
  controller: AbortController | undefined
  request: ClaimRequest | undefined
  readonly haste: Haste
}

const FAILURES_MAX = 10_000
const READ_TRIES = 3

/** Blocks from the cache, else fetched: each once, however many readers and processes ask. */
export class CachedReader implements BlockReader {
  readonly counters: CacheCounters = {
    hits: 0,
    misses: 0,
    joined: 0,
    fetched: 0,
    bytesFetched: 0,
    waitedForOther: 0,
    failures: 0,
  }
  readonly #cache: BlockCache
  readonly #reader: BlockReader
  readonly #failureMemoryMs: number
  readonly #seldom: Seldom
  readonly #now: () => number
  readonly #leavers = new Leavers()
  readonly #flights = new Map<string, Flight>()
  readonly #failures = new Map<string, { error: unknown; until: number }>()
  #closed = false

  constructor(cache: BlockCache, reader: BlockReader, options: CachedReaderOptions) {
    this.#cache = cache
    this.#reader = reader
    this.#failureMemoryMs = options.failureMemoryMs
    this.#seldom = new Seldom(options.log)
    this.#now = options.now ?? (() => performance.now())
  }

  /**
   * Where the block lies, its bytes, or both. Throws what the reader throws; FLIST_FILE_TRUNCATED where the cached block
   * has another length than the file needs; FLIST_INTERRUPTED when `signal` aborts: the fetch ends with its last waiter.
   */
  get(ref: BlockRef, place: Place | undefined, signal: AbortSignal): Promise<CachedBlock> {
    if (signal.aborted || this.#closed) return Promise.reject(interrupted(ref))
    const location = this.#cache.find(ref.key)
    if (location !== undefined) {
      this.counters.hits += 1
      if (location.bytes !== ref.plainBytes) return Promise.reject(wrongLength(ref, location))
      const { content: bytes } = location
      if (bytes === undefined || ref.ahead === true) {
        if (bytes !== undefined) freeBytes(bytes)
        return Promise.resolve({ location, bytes: undefined, shared: undefined })
      }
      return Promise.resolve({ location, bytes, shared: new SharedBytes(bytes, 1) })
    }
    const name = nameOf(ref)
    let flight = this.#flights.get(name)
    if (flight !== undefined) this.counters.joined += 1
    else {
      const failure = this.#failures.get(name)
      if (failure !== undefined && this.#now() < failure.until) return Promise.reject(asError(failure.error))
      this.counters.misses += 1
      flight = this.#begin(ref, place, name)
    }
    const joined = this.#join(flight, ref.ahead === true, signal)
    if (ref.ahead !== true) flight.haste.want()
    return joined
  }

  /** Where a block stands, asking nobody. */
  stateOf(ref: BlockRef): BlockState {
    if (this.#cache.find(ref.key) !== undefined) return 'cached'
    const name = nameOf(ref)
    if (this.#flights.has(name)) return 'fetching'
    return (this.#failures.get(name)?.until ?? 0) > this.#now() ? 'failed' : 'absent'
  }

  /** The block's bytes, for readers that are no mount. Throws as `get` does. */
  async read(ref: BlockRef, signal: AbortSignal): Promise<Buffer> {
    for (let tries = 0; tries < READ_TRIES; tries += 1) {
      const { location, bytes } = await this.get(ref, undefined, signal)
      if (bytes !== undefined) return bytes
      const cached = location === undefined ? undefined : this.#cache.read(location)
      if (cached !== undefined) return cached
      this.#cache.forget(ref.key)
    }
    return this.#reader.read(ref, signal)
  }

  /** Ends every fetch (FLIST_INTERRUPTED to who waits) and disposes of the reader; the cache stays open. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const flight of this.#flights.values()) this.#abandon(flight)
    await this.#reader[Symbol.asyncDispose]()
  }

  #begin(ref: BlockRef, place: Place | undefined, name: string): Flight {
    const flight: Flight = {
      ref,
      place,
      name,
      waiters: new Set(),
      controller: undefined,
      request: undefined,
      haste: new Haste(ref.ahead !== true),
    }
    this.#flights.set(name, flight)
    if (codecReady()) this.#claim(flight)
    else void this.#prepare(flight)
    return flight
  }

  /** Once a process: after it, blocks of an earlier boot can be verified. */
  async #prepare(flight: Flight): Promise<void> {
    try {
      await prepareCodec()
    } catch (error) {
      this.#fail(flight, error)
      return
    }
    if (!this.#isCurrent(flight)) return
    const at = this.#cache.find(flight.ref.key)
    if (at === undefined) this.#claim(flight)
    else this.#settle(flight, at, undefined)
  }

  #claim(flight: Flight): void {
    const request = this.#cache.claims.request(flight.ref.key, (won, at) => {
      if (request.waited) this.counters.waitedForOther += 1
      if (won) void this.#fetch(flight)
      else this.#settle(flight, at, undefined)
    })
    flight.request = request
  }

  async #fetch(flight: Flight): Promise<void> {
    const ref = { ...flight.ref, haste: flight.haste }
    flight.controller = new AbortController()
    try {
      this.#received(flight, await this.#reader.read(ref, flight.controller.signal))
    } catch (error) {
      this.#fail(flight, error)
    } finally {
      this.#cache.release(ref.key)
    }
  }

  #received(flight: Flight, bytes: Buffer): void {
    this.counters.fetched += 1
    this.counters.bytesFetched += bytes.length
    this.#settle(flight, this.#cache.put(flight.ref, bytes, flight.place), bytes)
  }

  #join(flight: Flight, ahead: boolean, signal: AbortSignal): Promise<CachedBlock> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = { ahead, resolve, reject, signal, leave: () => this.#leave(flight, waiter) }
      this.#leavers.add(waiter)
      flight.waiters.add(waiter)
    })
  }

  #leave(flight: Flight, waiter: Waiter): void {
    if (!flight.waiters.delete(waiter)) return
    waiter.reject(interrupted(flight.ref))
    if (flight.waiters.size > 0) return
    // Whose time was over comes again at once, because the kernel asks twice: he would wait as long again.
    const reason: unknown = waiter.signal.reason
    const isLate = reason instanceof FlistError && reason.code === 'FLIST_TIMEOUT'
    if (isLate && this.#isCurrent(flight)) this.#remember(flight.name, reason)
    this.#abandon(flight)
  }

  #abandon(flight: Flight): void {
    if (this.#isCurrent(flight)) this.#flights.delete(flight.name)
    if (flight.request !== undefined) this.#cache.claims.cancel(flight.request)
    flight.controller?.abort()
    for (const waiter of this.#takeWaiters(flight)) waiter.reject(interrupted(flight.ref))
  }

  #settle(flight: Flight, location: Found | undefined, fetched: Buffer | undefined): void {
    if (this.#isCurrent(flight)) this.#flights.delete(flight.name)
    const bytes = fetched ?? location?.content
    const wrong = fetched === undefined && location?.bytes !== flight.ref.plainBytes
    const waiters = this.#takeWaiters(flight)
    let wanted = 0
    for (const { ahead } of waiters) if (!ahead || location === undefined) wanted += 1
    const shared = bytes === undefined ? undefined : new SharedBytes(bytes, wanted)
    for (const waiter of waiters) {
      if (wrong) waiter.reject(wrongLength(flight.ref, location))
      else if (waiter.ahead && location !== undefined) waiter.resolve({ location, bytes: undefined, shared: undefined })
      else waiter.resolve({ location, bytes, shared })
    }
    if (wanted === 0 && bytes !== undefined) freeBytes(bytes)
  }

  #fail(flight: Flight, error: unknown): void {
    if (!this.#isCurrent(flight)) return
    this.#flights.delete(flight.name)
    this.counters.failures += 1
    // The fetch thread's reply names the file; here it is about the blocks, and all of them fail where a store is away.
    const code = error instanceof FlistError ? error.code : 'FLIST_SYSTEM'
    const block = flight.ref.id.toString('hex')
    this.#seldom.warn('blocks cannot be fetched', code, { block, reason: describeError(error) })
    this.#remember(flight.name, error)
    for (const waiter of this.#takeWaiters(flight)) waiter.reject(error)
  }

  /** Failures of blocks that are remembered, the oldest first. Errors are large: those whose time is over go with the next one. */
  get failuresKept(): number {
    return this.#failures.size
  }

  #remember(name: string, error: unknown): void {
    const now = this.#now()
    for (const [old, { until }] of this.#failures) {
      if (until > now && this.#failures.size < FAILURES_MAX) break
      this.#failures.delete(old)
    }
    // Last in order, also where it failed before.
    this.#failures.delete(name)
    this.#failures.set(name, { error, until: now + this.#failureMemoryMs })
  }

  #takeWaiters(flight: Flight): Waiter[] {
    const waiters = [...flight.waiters]
    flight.waiters.clear()
    for (const waiter of waiters) this.#leavers.remove(waiter)
    return waiters
  }

  #isCurrent(flight: Flight): boolean {
    return this.#flights.get(flight.name) === flight
  }
}

function nameOf(ref: BlockRef): string {
  return `${ref.plainBytes} ${ref.id.toString('latin1')}${ref.key.toString('latin1')}`
}

function interrupted(ref: BlockRef): FlistError {
  return new FlistError(
    'FLIST_INTERRUPTED',
    `Cannot read block "${ref.id.toString('hex')}": nobody waits for it any more`,
  )
}

function wrongLength(ref: BlockRef, at: Location | undefined): FlistError {
  return new FlistError(
    'FLIST_FILE_TRUNCATED',
    `Cannot read block "${ref.id.toString('hex')}": it holds ${at?.bytes ?? 0} bytes, the file needs ${ref.plainBytes}`,
    { hint: 'The archive was damaged by its writer: pack it again' },
  )
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(describeError(error))
}
