import { FlistError, LIMITS, type Log } from '../base/index.ts'
import { codecReady, prepareCodec } from './codec-tools.ts'
import { bounded } from './deadline.ts'
import type { DecodePool } from './decode-pool.ts'
import type { BreakerOptions } from './breaker.ts'
import { Member, type SourceState, type SourceStats } from './member.ts'
import type { BlockReader, BlockRef, BlockSource } from './port.ts'
import { isTransient, waitAfterMs } from './retrying.ts'
import { Haste } from './haste.ts'
import { inTurn } from './in-turn.ts'
import { blockFailure, notRouted, tooLate, type Refusal } from './routed-errors.ts'
import { Seldom } from './seldom.ts'
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

export interface RoutedOptions {
  readonly pool: DecodePool
  /** Close the pool with the reader. */
  readonly ownsPool?: boolean
  /** Milliseconds for one `read` in all. */
  readonly timeoutMs?: number
  /** Milliseconds a source that failed is asked last. */
  readonly coolDownMs?: number
  /** When a source is left alone, and how long. */
  readonly breaker?: BreakerOptions
  /** Requests in flight at one source. */
  readonly inFlightMax?: number
  readonly tries?: number
  /** Milliseconds of silence after which the next source is asked beside one that was asked. */
  readonly stallMs?: number
  readonly log?: Log
}

/**
 * Reads blocks from whoever has them: in the order of the routes, the next one where a source fails, lacks the block or
 * gives wrong bytes; those that failed lately last. Where all fail, those that did not answer are asked again with pauses. A
 * source that stays silent is left alone (`Breaker`) and tried beside a read that others answer.
 */
export class RoutedReader implements BlockReader {
  readonly #routes: { start: number; end: number; member: Member }[] = []
  readonly #members: Member[] = []
  readonly #pool: DecodePool
  readonly #timeoutMs: number
  readonly #tries: number
  readonly #stallMs: number
  readonly #ownsPool: boolean
  readonly #seldom: Seldom
  readonly #ending = new AbortController()
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
    this.#seldom = new Seldom(options.log)
    this.#tries = tries
    this.#stallMs = options.stallMs ?? LIMITS.storeStallMs
    this.#ownsPool = options.ownsPool ?? false
    for (const { start, end, source } of routes) {
      let member = this.#members.find((known) => known.origin === source)
      if (member === undefined) {
        member = new Member(source, {
          inFlightMax,
          retries: { tries: tries - 1, totalMs: timeoutMs },
          breaker: { restMs: options.coolDownMs ?? LIMITS.storeCoolDownMs, ...options.breaker },
          log: options.log,
        })
        this.#members.push(member)
      }
      this.#routes.push({ start, end, member })
    }
  }

  async read(ref: BlockRef, signal: AbortSignal): Promise<Buffer> {
    if (!codecReady()) await prepareCodec()
    const members = this.#candidates(ref.id[0] ?? 0)
    if (members.length === 0) throw notRouted(ref)
    this.#probe(members, ref)
    const refusals: Refusal[] = []
    const late = (): Error => tooLate(ref, this.#timeoutMs, refusals)
    return bounded((own) => this.#readFrom(members, ref, refusals, own), this.#timeoutMs, late, 'all', signal)
  }

  /** Counters of each source, since the start. */
  stats(): SourceStats[] {
    return this.#members.map((member) => member.stats())
  }

  /** The sources that may have a block whose id begins with this byte, in the order they would be asked now. */
  statesFor(first: number): SourceState[] {
    return this.#candidates(first).map((member) => ({ ...member.stats(), coolMs: Math.round(member.breaker.restMs) }))
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#ending.abort()
    await Promise.allSettled(this.#members.map(({ origin }) => origin[Symbol.asyncDispose]()))
    if (this.#ownsPool) await this.#pool.close()
  }

  /** Who may have the block, in the order to ask. */
  #candidates(first: number): Member[] {
    const well: Member[] = []
    const failing: Member[] = []
    const open: Member[] = []
    for (const { start, end, member } of this.#routes) {
      if (first < start || first > end) continue
      const { state } = member.breaker
      const list = state === 'ok' ? well : state === 'failing' ? failing : open
      if (!list.includes(member)) list.push(member)
    }
    return failing.length === 0 && open.length === 0 ? well : [...well, ...failing, ...open]
  }

  /** While one is well, nobody need wait to learn whether the others are well again: they are asked beside. */
  #probe(members: readonly Member[], ref: BlockRef): void {
    if (members[0]?.breaker.state !== 'ok') return
    for (const member of members) {
      const { breaker } = member
      if (breaker.state === 'ok' || breaker.isProbing || breaker.restMs > 0 || member.isProbed) continue
      member.isProbed = true
      const probing = member.get(ref.id, new Haste(false), false, this.#ending.signal)
      // The breaker hears of it either way.
      probing
        .then((stored) => stored !== undefined && giveStored(stored))
        .catch(() => undefined)
        .finally(() => (member.isProbed = false))
    }
  }

  async #readFrom(members: Member[], ref: BlockRef, refusals: Refusal[], signal: AbortSignal): Promise<Buffer> {
    const again: { member: Member; notBefore: number }[] = []
    const denied: { member: Member; notBefore: number }[] = []
    const end = performance.now() + this.#timeoutMs
    const refused = (member: Member): void => {
      const error = refusals.findLast(({ name }) => name === member.name)?.error
      const notBefore = performance.now() + waitAfterMs(error, 0)
      if (this.#tries < 2 || notBefore >= end) return
      if (isTransient(error)) again.push({ member, notBefore })
      else if (error?.code === 'FLIST_STORE_DENIED') denied.push({ member, notBefore })
    }
    const ask = (member: Member, own: AbortSignal): Promise<Buffer | undefined> =>
      this.#attempt(member, false, ref, refusals, own)
    const found = await inTurn(members, ask, refused, this.#stallMs, signal)
    if (found !== undefined) return found
    // A refusal is final where it stands alone. Where others are in trouble too it may be of the same kind: asked once more, last.
    for (const { member, notBefore } of again.length === 0 ? [] : [...again, ...denied]) {
      await pause(Math.max(0, notBefore - performance.now()), member.name, signal)
      const plain = await this.#attempt(member, true, ref, refusals, signal)
      if (plain !== undefined) return plain
    }
    throw blockFailure(ref, refusals)
  }

  async #attempt(
    member: Member,
    patient: boolean,
    ref: BlockRef,
    refusals: Refusal[],
    signal: AbortSignal,
  ): Promise<Buffer | undefined> {
    const { name } = member
    try {
      const stored = await member.get(ref.id, ref.haste ?? new Haste(ref.ahead !== true), patient, signal)
      if (stored !== undefined) return await this.#decode(ref, stored)
      refusals.push({ name, error: undefined })
      return undefined
    } catch (error) {
      // A wrong length under the right hash is the archive's fault: every copy says the same.
      if (signal.aborted || !(error instanceof FlistError) || error.code === 'FLIST_FILE_TRUNCATED') throw error
      if (error.code === 'FLIST_BLOCK_CORRUPT') member.gaveWrong(error)
      refusals.push({ name, error })
      // Said once, when it was left alone.
      if (member.breaker.state === 'open') return undefined
      this.#seldom.warn('a store failed', `${name} ${error.code}`, {
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
