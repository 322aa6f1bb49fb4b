const FIRST_SLOTS = 4096

/** Block ids, of which 128 bits are kept: 32 bytes each at most. Ids are hashes, so their bits need no hashing. */
export class IdSet {
  #words = new BigUint64Array(2 * FIRST_SLOTS)
  size = 0

  /** True where the id was not in it. */
  add(id: Buffer): boolean {
    const low = id.readBigUInt64LE(0)
    const high = id.readBigUInt64LE(8)
    // No hash is zero twice over; were it, the block would only be looked for again.
    if (low === 0n && high === 0n) return true
    const at = slotOf(this.#words, low, high)
    if (this.#words[at] === low && this.#words[at + 1] === high) return false
    this.#words[at] = low
    this.#words[at + 1] = high
    this.size += 1
    if (this.size * 2 > this.#words.length / 2) this.#grow()
    return true
  }

  #grow(): void {
    const grown = new BigUint64Array(this.#words.length * 2)
    for (let at = 0; at < this.#words.length; at += 2) {
      const [low = 0n, high = 0n] = this.#words.subarray(at, at + 2)
      if (low === 0n && high === 0n) continue
      const to = slotOf(grown, low, high)
      grown[to] = low
      grown[to + 1] = high
    }
    this.#words = grown
  }
}

/** Where it is, or the free slot where it goes. */
function slotOf(words: BigUint64Array, low: bigint, high: bigint): number {
  const slots = words.length / 2
  let slot = Number(low & 0xffff_ffffn) % slots
  for (;;) {
    const at = slot * 2
    const [one, two] = [words[at], words[at + 1]]
    if ((one === low && two === high) || (one === 0n && two === 0n)) return at
    slot = slot + 1 === slots ? 0 : slot + 1
  }
}
