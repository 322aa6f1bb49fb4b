import { LIMITS } from '../../base/index.ts'
import type { ClaimRow, Ledger } from './ledger.ts'
import type { Found } from './layout.ts'

/** `won`: the asker fetches, then puts and releases. Else the block is at `at`: somebody else has fetched it. */
export type ClaimAnswer = (won: boolean, at: Found | undefined) => void

export interface ClaimRequest {
  readonly key: Buffer
  readonly answer: ClaimAnswer
  won: boolean
  /** Another owner was waited for. */
  waited: boolean
  /** How often no claim was found, and none could be made. */
  turns: number
  /** The claim that was seen last, and since when, by the clock that is never set. */
  seen: { owner: number; until: number; since: number } | undefined
}

export interface ClaimDeskPort {
  find(key: Buffer): Found | undefined
  /** The open database, or undefined while it cannot be used: then everybody fetches for himself. */
  ledger(): Ledger | undefined
  /** Asks for a transaction at the end of this turn of the event loop. */
  schedule(): void
  /** A statement failed. */
  failed(error: unknown): void
}

const TURNS_MAX = 8
const POLL_MS_MIN = 2
const POLL_MS_MAX = 50

/** One fetch per block among all processes: who inserts the row in `claim` fetches; the others look until the block is there. */
export class ClaimDesk {
  readonly #port: ClaimDeskPort
  #queued = new Set<ClaimRequest>()
  /** Requests that lost, until the block appears or its claim ends. */
  readonly #waiting = new Set<ClaimRequest>()
  #timer: NodeJS.Timeout | undefined
  #delayMs = POLL_MS_MIN

  constructor(port: ClaimDeskPort) {
    this.#port = port
  }

  /** `answer` is called once, later, unless the request is cancelled before. */
  request(key: Buffer, answer: ClaimAnswer): ClaimRequest {
    const request: ClaimRequest = { key, answer, won: false, waited: false, turns: 0, seen: undefined }
    this.#queued.add(request)
    this.#port.schedule()
    return request
  }

  cancel(request: ClaimRequest): void {
    this.#queued.delete(request)
    this.#waiting.delete(request)
  }

  get hasQueued(): boolean {
    return this.#queued.size > 0
  }

  /** Inside a transaction, after the rows. */
  write(ledger: Ledger): void {
    const until = Date.now() + LIMITS.claimMs
    for (const request of this.#queued) request.won = ledger.claim(request.key, until)
  }

  /** After the transaction: tells the winners, lets the others wait. */
  settle(): void {
    const queued = this.#queued
    this.#queued = new Set()
    for (const request of queued) {
      if (request.won) request.answer(true, undefined)
      else this.#wait(request)
    }
  }

  /** No claim can be written: each process fetches for itself. */
  giveUp(): void {
    const queued = this.#queued
    this.#queued = new Set()
    for (const request of queued) request.answer(true, undefined)
  }

  close(): void {
    this.#queued.clear()
    this.#waiting.clear()
    clearTimeout(this.#timer)
  }

  #wait(request: ClaimRequest): void {
    const at = this.#port.find(request.key)
    if (at !== undefined) {
      request.answer(false, at)
      return
    }
    request.waited = true
    this.#waiting.add(request)
    this.#delayMs = POLL_MS_MIN
    this.#timer ??= setTimeout(() => this.#poll(), this.#delayMs)
  }

  #poll(): void {
    this.#timer = undefined
    const gone = new Map<number, boolean>()
    let moved = false
    for (const request of this.#waiting) if (this.#look(request, gone)) moved = true
    if (this.#waiting.size === 0) return
    this.#delayMs = moved ? POLL_MS_MIN : Math.min(2 * this.#delayMs, POLL_MS_MAX)
    this.#timer ??= setTimeout(() => this.#poll(), this.#delayMs)
  }

  /** True when the request waits no more. */
  #look(request: ClaimRequest, gone: Map<number, boolean>): boolean {
    const at = this.#port.find(request.key)
    const ledger = this.#port.ledger()
    if (at !== undefined || ledger === undefined) return this.#leave(request, at === undefined, at)
    try {
      const claim = ledger.claimOf(request.key)
      if (claim === undefined) {
        // Its owner failed, or gave up: our turn. Where a damaged row keeps every claim away, each fetches for himself.
        request.turns += 1
        if (request.turns > TURNS_MAX) return this.#leave(request, true, undefined)
        this.#waiting.delete(request)
        this.#queued.add(request)
        this.#port.schedule()
        return true
      }
      const dead = gone.get(claim.owner) ?? ledger.writerGone(claim.owner)
      gone.set(claim.owner, dead)
      if (!dead && claim.until > Date.now() && !hasOutlived(request, claim)) return false
      if (!ledger.takeOver(request.key, claim, Date.now() + LIMITS.claimMs)) return false
    } catch (error) {
      this.#port.failed(error)
      return false
    }
    return this.#leave(request, true, undefined)
  }

  #leave(request: ClaimRequest, won: boolean, at: Found | undefined): boolean {
    this.#waiting.delete(request)
    request.answer(won, at)
    return true
  }
}

/** The wall clock may have been set back since the claim was written: nobody waits longer than a claim holds. */
function hasOutlived(request: ClaimRequest, claim: ClaimRow): boolean {
  const now = performance.now()
  const { seen } = request
  if (seen === undefined || seen.owner !== claim.owner || seen.until !== claim.until) {
    request.seen = { owner: claim.owner, until: claim.until, since: now }
    return false
  }
  return now - seen.since > LIMITS.claimMs
}
