/*
 * Reads that the fetch thread was asked for, until it has answered the kernel: slots of 32 bytes in memory that the session and the
 * fetch thread share. The session writes a slot and the thread clears it, so no message is needed for either.
 */

/** Words of a slot: its state, unique lo and hi, row, offset lo and hi, bytes, and the session's clock when it was asked for. */
const SLOT = { state: 0, lo: 1, hi: 2, row: 3, offsetLo: 4, offsetHi: 5, bytes: 6, since: 7, words: 8 } as const
/** `refused`: the session answered it, and the thread, which may still come to it, has not let go of it. */
const STATE = { free: 0, asked: 1, refused: 2 } as const
/** As many as the kernel has on their way at the most (max_background), and readers that wait themselves. */
const SLOTS = 8192
/** Slots in use at first: few reads touch little memory. */
const SPAN = 64
const TWO_32 = 2 ** 32

/** Bytes of all slots. */
export const POSTED_BYTES = SLOTS * SLOT.words * 4

export interface PostedRead {
  readonly slot: number
  readonly lo: number
  readonly hi: number
  readonly row: number
  readonly offset: number
  readonly bytes: number
}

export class PostedReads {
  readonly #slots: Uint32Array
  #cursor = 0
  #span = SPAN

  /** The first `POSTED_BYTES` of this memory. */
  constructor(memory: ArrayBufferLike) {
    this.#slots = new Uint32Array(memory, 0, SLOTS * SLOT.words)
  }

  /** Notes a read. `now` is a clock of the caller's, a whole number. Gives its slot, or -1 where there is none. */
  keep(lo: number, hi: number, row: number, offset: number, bytes: number, now: number): number {
    const slots = this.#slots
    for (let tried = 0; tried < SLOTS; tried += 1) {
      if (tried === this.#span && this.#span < SLOTS) {
        this.#cursor = this.#span
        this.#span *= 2
      }
      const slot = this.#cursor
      this.#cursor = (slot + 1) % this.#span
      const at = slot * SLOT.words
      if (slots[at] !== STATE.free) continue
      slots[at + SLOT.lo] = lo
      slots[at + SLOT.hi] = hi
      slots[at + SLOT.row] = row
      slots[at + SLOT.offsetLo] = offset
      slots[at + SLOT.offsetHi] = offset / TWO_32
      slots[at + SLOT.bytes] = bytes
      slots[at + SLOT.since] = now
      // Last: what is half written is not believed.
      Atomics.store(slots, at, STATE.asked)
      return slot
    }
    return -1
  }

  /** It was answered. */
  clear(slot: number): void {
    if (slot >= 0) Atomics.store(this.#slots, slot * SLOT.words, STATE.free)
  }

  /** The session answered it. False where the thread had done so. */
  refuse(slot: number): boolean {
    const at = slot * SLOT.words
    return Atomics.compareExchange(this.#slots, at, STATE.asked, STATE.refused) === STATE.asked
  }

  /** The thread has ended and lets go of nothing any more. `keep`: reads that nobody has answered stay, to be asked for again. */
  release(keep: boolean): void {
    const slots = this.#slots
    for (let at = 0; at < slots.length; at += SLOT.words) {
      if (slots[at] === STATE.refused || !keep) Atomics.store(slots, at, STATE.free)
    }
  }

  /** Reads that nobody has answered, asked for at `until` or before. */
  left(until = Infinity): PostedRead[] {
    const slots = this.#slots
    const found: PostedRead[] = []
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const at = slot * SLOT.words
      if (slots[at] !== STATE.asked) continue
      const word = (which: number): number => slots[at + which] ?? 0
      if (word(SLOT.since) > until) continue
      const offset = word(SLOT.offsetLo) + word(SLOT.offsetHi) * TWO_32
      found.push({ slot, lo: word(SLOT.lo), hi: word(SLOT.hi), row: word(SLOT.row), offset, bytes: word(SLOT.bytes) })
    }
    return found
  }

  /** One that is left is asked for again. */
  renew(slot: number, now: number): void {
    this.#slots[slot * SLOT.words + SLOT.since] = now
  }

  /** Reads that the thread has not come to: those that wait, and those that were refused. */
  count(): { readonly asked: number; readonly refused: number } {
    const slots = this.#slots
    let asked = 0
    let refused = 0
    for (let at = 0; at < slots.length; at += SLOT.words) {
      if (slots[at] === STATE.asked) asked += 1
      else if (slots[at] === STATE.refused) refused += 1
    }
    return { asked, refused }
  }
}
