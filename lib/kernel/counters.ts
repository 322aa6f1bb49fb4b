import { OPCODE_COUNT, opcodeInfo } from '../wire/index.ts'

/** Buckets of a latency histogram: bucket n counts what took 2^(n-1) to 2^n microseconds. */
const BUCKETS = 32
const LAST_BUCKET_US = 2 ** (BUCKETS - 2)

/** The buckets of one kind of request. */
export interface RequestTimes {
  /** Requests per bucket, not summed up; bucket n ends at 2^n microseconds. */
  readonly buckets: readonly number[]
  readonly sumUs: number
}

/** What the session and fetch threads count, in shared memory: each slot has one writer, so nothing is locked. */
export class Counters {
  readonly memory: SharedArrayBuffer
  readonly #latency: Uint32Array
  readonly #totals: Float64Array
  /** Microseconds in all, by opcode, for each of the threads. */
  readonly #sums: Float64Array

  constructor(memory = new SharedArrayBuffer(8 * WORDS_MAX + 2 * 4 * OPCODE_COUNT * BUCKETS)) {
    this.memory = memory
    this.#totals = new Float64Array(memory, 0, TOTALS.length)
    this.#sums = new Float64Array(memory, 8 * TOTALS.length, 2 * OPCODE_COUNT)
    this.#latency = new Uint32Array(memory, 8 * WORDS_MAX)
  }

  add(total: Total, amount: number): void {
    const at = TOTALS.indexOf(total)
    this.#totals[at] = (this.#totals[at] ?? 0) + amount
  }

  get(total: Total): number {
    return this.#totals[TOTALS.indexOf(total)] ?? 0
  }

  /** A request answered after `us` microseconds; `deferred` ones are counted by the fetch thread. */
  observe(opcode: number, us: number, deferred: boolean): void {
    // A newer kernel's opcode would be counted as another's.
    if (opcode >= OPCODE_COUNT) return
    // Above 2^32 clz32 begins again at its start.
    const bucket = us < 1 ? 0 : us >= LAST_BUCKET_US ? BUCKETS - 1 : 32 - Math.clz32(us)
    const slot = (deferred ? OPCODE_COUNT : 0) + opcode
    const at = slot * BUCKETS + bucket
    this.#latency[at] = (this.#latency[at] ?? 0) + 1
    this.#sums[slot] = (this.#sums[slot] ?? 0) + us
  }

  /** Times of the requests that came, by name. */
  times(): Map<string, RequestTimes> {
    const times = new Map<string, RequestTimes>()
    for (let opcode = 1; opcode < OPCODE_COUNT; opcode += 1) {
      const name = opcodeInfo(opcode)?.name
      const buckets = Array.from({ length: BUCKETS }, (_, bucket) => this.#bucket(opcode, bucket))
      if (name === undefined || buckets.every((count) => count === 0)) continue
      times.set(name, { buckets, sumUs: (this.#sums[opcode] ?? 0) + (this.#sums[OPCODE_COUNT + opcode] ?? 0) })
    }
    return times
  }

  /** Requests by name: how many, and the upper bounds of the buckets that hold the median and the slowest 1 %. */
  requests(): Record<string, { count: number; p50Us: number; p99Us: number }> {
    const out: Record<string, { count: number; p50Us: number; p99Us: number }> = {}
    for (const [name, { buckets }] of this.times()) {
      const count = buckets.reduce((sum, value) => sum + value, 0)
      out[name] = { count, p50Us: quantile(buckets, 0.5), p99Us: quantile(buckets, 0.99) }
    }
    return out
  }

  #bucket(opcode: number, bucket: number): number {
    const at = opcode * BUCKETS + bucket
    return (this.#latency[at] ?? 0) + (this.#latency[OPCODE_COUNT * BUCKETS + at] ?? 0)
  }
}

const TOTALS = ['bytesRead', 'fetchedBytesRead', 'readsFromCache', 'readsFetched', 'errors', 'interrupted'] as const
export type Total = (typeof TOTALS)[number]

/** Totals and sums, eight bytes each. */
const WORDS_MAX = TOTALS.length + 2 * OPCODE_COUNT

function quantile(counts: readonly number[], part: number): number {
  const total = counts.reduce((sum, value) => sum + value, 0)
  let seen = 0
  for (const [bucket, count] of counts.entries()) {
    seen += count
    if (seen >= total * part) return 2 ** bucket
  }
  return 2 ** (counts.length - 1)
}
