const FIRST_CAPACITY = 1024

/** The next capacity of something that must hold `wanted`: doubling, so that growing costs a constant for each element. */
export function grownCapacity(capacity: number, wanted: number): number {
  let grown = Math.max(capacity, FIRST_CAPACITY)
  while (grown < wanted) grown *= 2
  return grown
}

/** Bytes that are only appended. */
export class GrowingBytes {
  bytes = Buffer.allocUnsafeSlow(FIRST_CAPACITY)
  length = 0

  /** Returns where the bytes begin. */
  append(more: Uint8Array): number {
    const at = this.length
    const end = at + more.length
    if (end > this.bytes.length) {
      const grown = Buffer.allocUnsafeSlow(grownCapacity(this.bytes.length, end))
      this.bytes.copy(grown, 0, 0, at)
      this.bytes = grown
    }
    this.bytes.set(more, at)
    this.length = end
    return at
  }
}

/** Numbers 0 to 2^32-1 that are only appended. */
export class GrowingU32 {
  values = new Uint32Array(FIRST_CAPACITY)
  length = 0

  push(value: number): void {
    if (this.length === this.values.length) {
      const grown = new Uint32Array(grownCapacity(this.values.length, this.length + 1))
      grown.set(this.values)
      this.values = grown
    }
    this.values[this.length] = value
    this.length += 1
  }
}

/** Safe integers that are only appended. */
export class GrowingF64 {
  values = new Float64Array(FIRST_CAPACITY)
  length = 0

  push(value: number): void {
    if (this.length === this.values.length) {
      const grown = new Float64Array(grownCapacity(this.values.length, this.length + 1))
      grown.set(this.values)
      this.values = grown
    }
    this.values[this.length] = value
    this.length += 1
  }
}

const RECORDS_PER_CHUNK = 4096

/** Pairs of equally long byte strings, in chunks: growing copies nothing. */
export class PairRecords {
  readonly #half: number
  readonly #chunks: Buffer[] = []
  length = 0

  constructor(half: number) {
    this.#half = half
  }

  push(first: Uint8Array, second: Uint8Array): void {
    const half = this.#half
    const at = (this.length % RECORDS_PER_CHUNK) * 2 * half
    if (at === 0) this.#chunks.push(Buffer.allocUnsafeSlow(RECORDS_PER_CHUNK * 2 * half))
    const chunk = this.#chunks.at(-1)
    chunk?.set(first, at)
    chunk?.set(second, at + half)
    this.length += 1
  }

  /** Copies one half (0 or 1) of a record to `target` at `at`. */
  copy(record: number, which: 0 | 1, target: Buffer, at: number): void {
    const from = ((record % RECORDS_PER_CHUNK) * 2 + which) * this.#half
    this.#chunks[Math.floor(record / RECORDS_PER_CHUNK)]?.copy(target, at, from, from + this.#half)
  }
}
