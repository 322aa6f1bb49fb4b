/** What this needs of a database. */
export interface KeyTable {
  /** Another number after each commit of another connection. */
  dataVersion(): number
  /** The next keys in their order, at most `count`. */
  keysAfter(key: Uint8Array, count: number): Uint8Array[]
}

/** 1 MiB: with as many keys as we learn, one absent key in 300 is looked up for nothing. */
const BITS = 2 ** 23
const KEYS_MAX = 200_000
const KEYS_PER_STEP = 4096
/** Milliseconds another process's rows may stay unseen. Whoever misses one loses the claim on it, and then looks again. */
const STALE_MS = 1

/**
 * Which keys have no row, without asking the database: a SELECT costs 15 us, and a first mount looks for each of its keys twice.
 * Knows nothing until all keys are learned, and nothing any more once another process has written.
 */
export class KnownKeys {
  readonly #table: KeyTable
  #bits: Uint8Array | undefined
  /** Where learning goes on; undefined: it has ended. */
  #after: Uint8Array | undefined = new Uint8Array(0)
  #learned = 0
  #version = 0
  #checkedAt = 0
  #complete = false

  constructor(table: KeyTable) {
    this.#table = table
  }

  /** True where there is surely no row. */
  lacks(key: Uint8Array): boolean {
    if (!this.#complete || this.#mayHave(key)) return false
    const now = performance.now()
    if (now - this.#checkedAt < STALE_MS) return true
    this.#checkedAt = now
    if (this.#table.dataVersion() === this.#version) return true
    this.#forget()
    return false
  }

  /** This connection inserts it. */
  add(key: Uint8Array): void {
    if (this.#bits === undefined) return
    const [first, second] = [bitOf(key, 0), bitOf(key, 4)]
    this.#bits[first >>> 3]! |= 1 << (first & 7)
    this.#bits[second >>> 3]! |= 1 << (second & 7)
  }

  /** Reads the next few thousand keys, until all are known or they are too many. */
  learn(): void {
    if (this.#after === undefined) return
    if (this.#bits === undefined) {
      this.#bits = new Uint8Array(BITS / 8)
      this.#version = this.#table.dataVersion()
    }
    const keys = this.#table.keysAfter(this.#after, KEYS_PER_STEP)
    for (const key of keys) this.add(key)
    this.#learned += keys.length
    this.#after = keys.at(-1)
    if (this.#learned > KEYS_MAX) this.#forget()
    else if (keys.length < KEYS_PER_STEP) this.#finish()
  }

  #finish(): void {
    this.#after = undefined
    this.#complete = this.#table.dataVersion() === this.#version
    if (!this.#complete) this.#forget()
  }

  #forget(): void {
    this.#complete = false
    this.#after = undefined
    this.#bits = undefined
  }

  #mayHave(key: Uint8Array): boolean {
    const bits = this.#bits
    if (bits === undefined) return true
    const [first, second] = [bitOf(key, 0), bitOf(key, 4)]
    return (bits[first >>> 3]! & (1 << (first & 7))) !== 0 && (bits[second >>> 3]! & (1 << (second & 7))) !== 0
  }
}

/** Keys are hashes: any of their bits will do. */
function bitOf(key: Uint8Array, at: number): number {
  return ((key[at] ?? 0) | ((key[at + 1] ?? 0) << 8) | ((key[at + 2] ?? 0) << 16)) % BITS
}
