import { randomInt } from 'node:crypto'

const EMPTY = 0xffffffff
/** An archive chooses its keys: without a secret they could be made to collide. Made with the first set: crypto is slow to load. */
let seed: number | undefined

/** A set of block keys, numbered as they come. Holds where each key lies, not the key itself. */
export class KeySet {
  readonly #keyBytes: number
  readonly #seed: number
  /** Numbers of keys. */
  #slots = new Uint32Array(1024).fill(EMPTY)
  /** By number: which of all keys ever named it is. */
  #held = new Uint32Array(512)
  readonly #sources: Buffer[] = []
  /** Where the keys of each source begin in the count of all keys ever named. */
  readonly #starts: number[] = []
  #named = 0
  /** Keys in the set. */
  size = 0

  constructor(keyBytes: number) {
    seed ??= randomInt(2 ** 32)
    this.#seed = seed
    this.#keyBytes = keyBytes
  }

  /**
   * Takes all keys of `keys`, back to back, and calls `seen` for each: how manieth it is there, whether it was new, and its number in the
   * set. The bytes must stay as they are.
   */
  add(keys: Buffer, seen: (nth: number, isNew: boolean, number: number) => void): void {
    this.#sources.push(keys)
    this.#starts.push(this.#named)
    const count = Math.floor(keys.length / this.#keyBytes)
    for (let nth = 0; nth < count; nth += 1) {
      if (2 * (this.size + 1) > this.#slots.length) this.#grow()
      const slot = this.#slotOf(keys, nth * this.#keyBytes)
      const isNew = this.#slots[slot] === EMPTY
      if (isNew) {
        this.#slots[slot] = this.size
        this.#held[this.size] = this.#named + nth
        this.size += 1
      }
      seen(nth, isNew, this.#slots[slot] ?? 0)
    }
    this.#named += count
  }

  has(key: Buffer): boolean {
    return this.#slots[this.#slotOf(key, 0)] !== EMPTY
  }

  /** The slot that holds this key, or the free one where it belongs. */
  #slotOf(bytes: Buffer, at: number): number {
    const mask = this.#slots.length - 1
    let slot = this.#hash(bytes, at) & mask
    for (; ; slot = (slot + 1) & mask) {
      const number = this.#slots[slot] ?? EMPTY
      if (number === EMPTY || this.#equals(number, bytes, at)) return slot
    }
  }

  #hash(bytes: Buffer, at: number): number {
    let hash = this.#seed
    for (let word = 0; word < this.#keyBytes; word += 4) {
      hash = Math.imul(hash ^ bytes.readInt32LE(at + word), 0x9e3779b1)
      hash ^= hash >>> 15
    }
    return hash
  }

  #equals(number: number, bytes: Buffer, at: number): boolean {
    const [source, from] = this.#place(number)
    return source.compare(bytes, at, at + this.#keyBytes, from, from + this.#keyBytes) === 0
  }

  #place(number: number): [Buffer, number] {
    const held = this.#held[number] ?? 0
    let which = this.#sources.length - 1
    while ((this.#starts[which] ?? 0) > held) which -= 1
    return [this.#sources[which] ?? Buffer.alloc(0), (held - (this.#starts[which] ?? 0)) * this.#keyBytes]
  }

  #grow(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2).fill(EMPTY)
    const held = this.#held
    this.#held = new Uint32Array(held.length * 2)
    this.#held.set(held)
    for (let number = 0; number < this.size; number += 1) {
      const [source, from] = this.#place(number)
      this.#slots[this.#slotOf(source, from)] = number
    }
  }
}
