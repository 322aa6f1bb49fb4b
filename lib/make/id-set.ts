const FIRST_SLOTS = 4096
/** Words of 32 bits that are kept of an id: as many as cannot be the same by chance. */
const WORDS = 4

/** Block ids, each with a mark. Ids are hashes, so their bits need no hashing; no object is made for one. */
export class IdSet {
  #words = new Uint32Array(WORDS * FIRST_SLOTS)
  #marks = new Uint8Array(FIRST_SLOTS)
  size = 0

  /** True where the id was not in it. */
  add(id: Buffer): boolean {
    return this.#addWords(id.readUInt32LE(0), id.readUInt32LE(4), id.readUInt32LE(8), id.readUInt32LE(12), 0)
  }

  /** Marks an id that is in it. True where it had no mark. */
  mark(id: Buffer): boolean {
    const slot = this.#slotOf(id.readUInt32LE(0), id.readUInt32LE(4), id.readUInt32LE(8), id.readUInt32LE(12))
    if (this.#marks[slot] === 1) return false
    this.#marks[slot] = 1
    return true
  }

  #addWords(one: number, two: number, three: number, four: number, mark: number): boolean {
    const slot = this.#slotOf(one, two, three, four)
    const words = this.#words
    const at = slot * WORDS
    // No hash is all zeros; were it, the block would only be looked for again.
    if (words[at] === one && words[at + 1] === two && words[at + 2] === three && words[at + 3] === four) return false
    words[at] = one
    words[at + 1] = two
    words[at + 2] = three
    words[at + 3] = four
    this.#marks[slot] = mark
    this.size += 1
    if (this.size * 2 > this.#marks.length) this.#grow()
    return true
  }

  /** Where it is, or the free slot where it goes. */
  #slotOf(one: number, two: number, three: number, four: number): number {
    const words = this.#words
    const slots = this.#marks.length
    for (let slot = one % slots; ; slot = slot + 1 === slots ? 0 : slot + 1) {
      const at = slot * WORDS
      const [a, b, c, d] = [words[at], words[at + 1], words[at + 2], words[at + 3]]
      if ((a === one && b === two && c === three && d === four) || (a === 0 && b === 0 && c === 0 && d === 0))
        return slot
    }
  }

  #grow(): void {
    const [words, marks] = [this.#words, this.#marks]
    this.#words = new Uint32Array(words.length * 2)
    this.#marks = new Uint8Array(marks.length * 2)
    this.size = 0
    for (let slot = 0; slot < marks.length; slot += 1) {
      const at = slot * WORDS
      const [one = 0, two = 0, three = 0, four = 0] = words.subarray(at, at + WORDS)
      if (one !== 0 || two !== 0 || three !== 0 || four !== 0) this.#addWords(one, two, three, four, marks[slot] ?? 0)
    }
  }
}
