import type { Location } from '../store/index.ts'

/** Offsets in segments count these units, so that 32 bits reach 256 GiB. */
const UNIT_BYTES = 64

/**
 * Where each block reference of an archive lies in the cache, shared by the threads of one mount: the fetch thread
 * writes, the session thread reads. Segment numbers start at 1 and are never used twice; 0 means "not known here".
 */
export class BlockTable {
  readonly memory: SharedArrayBuffer
  readonly #segment: Uint32Array
  readonly #unit: Uint32Array
  readonly #marks: Uint8Array
  /** How many references are filled in. Only the fetch thread's count is right. */
  filled = 0

  constructor(blockCount: number, memory = new SharedArrayBuffer(9 * blockCount)) {
    this.memory = memory
    this.#segment = new Uint32Array(memory, 0, blockCount)
    this.#unit = new Uint32Array(memory, 4 * blockCount, blockCount)
    this.#marks = new Uint8Array(memory, 8 * blockCount, blockCount)
  }

  get length(): number {
    return this.#segment.length
  }

  has(block: number): boolean {
    return this.#segment[block] !== 0
  }

  set(block: number, location: Location): void {
    const unit = location.offset / UNIT_BYTES
    if (location.segment > 0xffff_ffff || unit > 0xffff_ffff || !Number.isInteger(unit)) return
    if (this.#segment[block] === 0) this.filled += 1
    // A reader that sees the segment before and after the offset saw a true pair: segments are append-only.
    Atomics.store(this.#segment, block, 0)
    Atomics.store(this.#unit, block, unit)
    Atomics.store(this.#segment, block, location.segment)
  }

  clear(block: number): void {
    if (Atomics.exchange(this.#segment, block, 0) !== 0) this.filled -= 1
  }

  /** The segment of a block, or 0. */
  segmentOf(block: number): number {
    return Atomics.load(this.#segment, block)
  }

  /** The offset in its segment, bytes; valid if `segmentOf` says the same before and after. */
  offsetOf(block: number): number {
    return Atomics.load(this.#unit, block) * UNIT_BYTES
  }

  /** Asks the session thread to tell when a reader reaches this block: the readahead goes on then. */
  mark(block: number): void {
    this.#marks[block] = 1
  }

  takeMark(block: number): boolean {
    if (this.#marks[block] !== 1) return false
    this.#marks[block] = 0
    return true
  }
}
