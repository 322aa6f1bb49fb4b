import { OPCODE_COUNT, opcodeInfo } from '../wire/index.ts'

/** Buckets of a latency histogram: bucket n counts what took 2^(n-1) to 2^n microseconds. */
const BUCKETS = 32
const LAST_BUCKET_US = 2 ** (BUCKETS - 2)

/** What the session and fetch threads count, in shared memory: each slot has one writer, so nothing is locked. */
export class Counters {
  readonly memory: SharedArrayBuffer
  readonly #latency: Uint32Array
  readonly #totals: Float64Array

  constructor(memory = new SharedArrayBuffer(8 * TOTALS.length + 2 * 4 * OPCODE_COUNT * BUCKETS)) {
    this.memory = memory
    this.#totals = new Float64Array(memory, 0, TOTALS.length)
    this.#latency = new Uint32Array(memory, 8 * TOTALS.length)
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
    const at = ((deferred ? OPCODE_COUNT : 0) + opcode) * BUCKETS + bucket
    this.#latency[at] = (this.#latency[at] ?? 0) + 1
  }

  /** Requests by name: how many, and the upper bounds of the buckets that hold the median and the slowest 1 %. */
  requests(): Record<string, { count: number; p50Us: number; p99Us: number }> {
    const out: Record<string, { count: number; p50Us: number; p99Us: number }> = {}
    for (let opcode = 1; opcode < OPCODE_COUNT; opcode += 1) {
      const counts = Array.from({ length: BUCKETS }, (_, bucket) => this.#bucket(opcode, bucket))
      const count = counts.reduce((sum, value) => sum + value, 0)
      const name = opcodeInfo(opcode)?.name
      if (count > 0 && name !== undefined)
        out[name] = { count, p50Us: quantile(counts, 0.5), p99Us: quantile(counts, 0.99) }
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

function quantile(counts: readonly number[], part: number): number {
  const total = counts.reduce((sum, value) => sum + value, 0)
  let seen = 0
  for (const [bucket, count] of counts.entries()) {
    seen += count
    if (seen >= total * part) return 2 ** bucket
  }
  return 2 ** (counts.length - 1)
}
