import { FlistError, LIMITS, type Log } from '../base/index.ts'
import { codecReady, prepareCodec } from './codec-tools.ts'
import { bounded } from './deadline.ts'
import type { DecodePool } from './decode-pool.ts'
import { Gate } from './gate.ts'
import type { BlockReader, BlockRef, BlockSource } from './port.ts'
import { isTransient, retrying, type RetryOptions, waitAfterMs } from './retrying.ts'
import { blockFailure, notRouted, tooLate, type Refusal } from './routed-errors.ts'
import { giveStored } from './spent.ts'
import { pause } from './wait.ts'

/** A source and the first bytes of the ids it may have. */
export interface RoutedSource {
  /** Inclusive. */
  readonly start: number
  readonly end: number
  /** The same object may stand in several routes. Answers or throws by itself: a deadline is its own matter. */
  readonly source: BlockSource
}

export interface SourceStats {
  readonly name: string
  requests: number
  /** Stored bytes received. */
  bytes: number
  /** Requests that threw, and blocks that were corrupt. */
  failures: number
  /** Answers "not here". */
  missing: number
  latencyMsSum: number
}

/** What a source that may have a block does at this moment. */
export interface SourceState extends SourceStats {
  /** Milliseconds that it is still asked last, because it failed. */
  readonly coolMs: number
  /** Why it failed last, and when (ISO 8601). */
  readonly lastError: { readonly at: string; readonly code: string; readonly message: string } | undefined
}

export interface RoutedOptions {
  readonly pool: DecodePool
  /** Close the pool with the reader. */
  readonly ownsPool?: boolean
  /** Milliseconds for one `read` in all. */
  readonly timeoutMs?: number
  /** Milliseconds a source that failed is asked last. */
  readonly coolDownMs?: number
  /** Requests in flight at one source. */
  readonly inFlightMax?: number
  readonly tries?: number
  readonly log?: Log
}

interface Member {
  readonly name: string
  readonly origin: BlockSource
  /** One call, counted. */
  readonly once: BlockSource
  /** The tries that remain after the first, counted alike. */
  readonly patient: BlockSource
  readonly gate: Gate
  readonly stats: SourceStats
  coolUntil: number
  lastError: SourceState['lastError']
}

/**
 * Reads blocks from whoever has them: in the order of the routes, the next one where a source fails, lacks the block or
 * gives wrong bytes; those that failed lately last. Where all fail, those that did not answer are asked again with pauses.
 */
export class RoutedReader implements BlockReader {
  readonly #routes: { start: number; end: number; member: Member }[] = []
  readonly #members: Member[] = []
  readonly #pool: DecodePool
  readonly #timeoutMs: number
  readonly #coolDownMs: number
  readonly #tries: number
  readonly #ownsPool: boolean
  readonly #log: Log | undefined
  #closing: Promise<void> | undefined

  constructor(routes: readonly RoutedSource[], options: RoutedOptions) {
    const {
      pool,
      timeoutMs = LIMITS.readTimeoutMs,
      tries = LIMITS.triesPerStore,
      inFlightMax = LIMITS.connectionsPerStore,
    } = options
    this.#pool = pool
    this.#timeoutMs = timeoutMs
    this.#coolDownMs = options.coolDownMs ?? LIMITS.storeCoolDownMs
    this.#log = options.log
    this.#tries = tries
    this.#ownsPool = options.ownsPool ?? false
    for (const { start, end, source } of routes) {
      let member = this.#members.find((known) => known.origin === source)
      if (member === undefined) {
        member = openMember(source, inFlightMax, { tries: tries - 1, totalMs: timeoutMs })
        this.#members.push(member)
      }
      this.#routes.push({ start, end, member })
    }
  }

  async read(ref: BlockRef, signal: AbortSignal): Promise<Buffer> {
    if (!codecReady()) await prepareCodec()
    const members = this.#candidates(ref.id[0] ?? 0)
    if (members.length === 0) throw notRouted(ref)
    const refusals: Refusal[] = []
    const late = (): Error => tooLate(ref, this.#timeoutMs, refusals)
    return bounded((own) => this.#readFrom(members, ref, refusals, own), this.#timeoutMs, late, 'all', signal)
  }

  /** Counters of each source, since the start. */
  stats(): SourceStats[] {
    return this.#members.map(({ stats }) => ({ ...stats }))
  }

  /** The sources that may have a block whose id begins with this byte, in the order they would be asked now. */
  statesFor(first: number): SourceState[] {
    const now = Date.now()
    return this.#candidates(first).map(({ stats, coolUntil, lastError }) => ({
      ...stats,
      coolMs: Math.max(0, coolUntil - now),
      lastError,
    }))
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#members.map(({ origin }) => origin[Symbol.asyncDispose]()))
    if (this.#ownsPool) await this.#pool.close()
  }

  #candidates(first: number): Member[] {
    const now = Date.now()
    const warm: Member[] = []
    const cool: Member[] = []
    for (const { start, end, member } of this.#routes) {
      if (first < start || first > end || warm.includes(member) || cool.includes(member)) continue
      if (member.coolUntil > now) cool.push(member)
      else warm.push(member)
    }
    return cool.length === 0 ? warm : [...warm, ...cool]
  }

  async #readFrom(members: Member[], ref: BlockRef, refusals: Refusal[], signal: AbortSignal): Promise<Buffer> {
    const again: { member: Member; notBefore: number }[] = []
    const end = Date.now() + this.#timeoutMs
    for (const member of members) {
      const plain = await this.#attempt(member, member.once, ref, refusals, signal)
      if (plain !== undefined) return plain
      const error = refusals.at(-1)?.error
      const notBefore = Date.now() + waitAfterMs(error, 0)
      if (this.#tries > 1 && isTransient(error) && notBefore < end) again.push({ member, notBefore })
    }
    for (const { member, notBefore } of again) {
      await pause(Math.max(0, notBefore - Date.now()), member.name, signal)
      const plain = await this.#attempt(member, member.patient, ref, refusals, signal)
      if (plain !== undefined) return plain
    }
    throw blockFailure(ref, refusals)
  }

  async #attempt(
    member: Member,
    source: BlockSource,
    ref: BlockRef,
    refusals: Refusal[],
    signal: AbortSignal,
  ): Promise<Buffer | undefined> {
    const { name } = member
    try {
      const stored = await member.gate.run(ref.ahead === true, () => source.get(ref.id, signal), signal)
      if (stored !== undefined) return await this.#decode(ref, stored)
      refusals.push({ name, error: undefined })
      return undefined
    } catch (error) {
      // A wrong length under the right hash is the archive's fault: every copy says the same.
      if (signal.aborted || !(error instanceof FlistError) || error.code === 'FLIST_FILE_TRUNCATED') throw error
      if (error.code === 'FLIST_BLOCK_CORRUPT') member.stats.failures += 1
      member.coolUntil = Date.now() + this.#coolDownMs
      refusals.push({ name, error })
      member.lastError = { at: new Date().toISOString(), code: error.code, message: error.message }
      this.#log?.warn('a store failed', {
        store: name,
        block: ref.id.toString('hex'),
        code: error.code,
        why: error.message,
      })
      return undefined
    }
  }

  async #decode(ref: BlockRef, stored: Buffer): Promise<Buffer> {
    try {
      return await this.#pool.decode(ref, stored)
    } finally {
      giveStored(stored)
    }
  }
}

function openMember(origin: BlockSource, inFlightMax: number, retries: RetryOptions): Member {
  const { name } = origin
  const stats: SourceStats = { name, requests: 0, bytes: 0, failures: 0, missing: 0, latencyMsSum: 0 }
  const once = counted(origin, stats)
  return {
    name,
    origin,
    once,
    patient: retrying(once, retries),
    gate: new Gate(inFlightMax, name),
    stats,
    coolUntil: 0,
    lastError: undefined,
  }
}

function counted(source: BlockSource, stats: SourceStats): BlockSource {
  return {
    name: source.name,
    async get(id, signal) {
      const began = performance.now()
      stats.requests += 1
      try {
        const stored = await source.get(id, signal)
        if (stored === undefined) stats.missing += 1
        else stats.bytes += stored.length
        return stored
      } catch (error) {
        if (!(error instanceof FlistError) || error.code !== 'FLIST_INTERRUPTED') stats.failures += 1
        throw error
      } finally {
        stats.latencyMsSum += performance.now() - began
      }
    },
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  }
}
