import { describeError, displayBytes, FlistError, invariant, LIMITS } from '../../base/index.ts'
import { FILE_TYPE, type FlistIndex, walk } from '../../flist/index.ts'
import type { SparseRange } from '../../oci/index.ts'
import { encodeBlock, prepareCodec } from '../../store/index.ts'
import { blockRef, type BlockSupply } from './file-content.ts'

interface Wanted {
  readonly row: number
  readonly nth: number
  readonly bytes: Promise<Buffer>
}

/**
 * The content of an archive's files in the order of a tar. Blocks are asked for ahead, of the next files too; a file of so many blocks
 * or fewer is known to be whole before its header is written. Blocks of zeros are holes and not asked for.
 */
export class TarContent {
  bytes = 0
  failures = 0
  firstFailure: unknown
  readonly #index: FlistIndex
  readonly #supply: BlockSupply
  readonly #signal: AbortSignal
  readonly #zeros: Buffer
  readonly #order: Iterator<{ row: number; nth: number }>
  readonly #ahead: Wanted[] = []
  /** Of files that cannot be had, by row. */
  readonly #missing = new Map<number, string>()

  private constructor(index: FlistIndex, supply: BlockSupply, zeros: Buffer, signal: AbortSignal) {
    this.#index = index
    this.#supply = supply
    this.#zeros = zeros
    this.#signal = signal
    this.#order = this.#blocks()
  }

  static async open(index: FlistIndex, supply: BlockSupply, signal: AbortSignal): Promise<TarContent> {
    await prepareCodec()
    const zeros = encodeBlock(index.format, Buffer.alloc(LIMITS.blockBytesMax))
    return new TarContent(index, supply, Buffer.from(zeros.key), signal)
  }

  /** Why the file of a row cannot be had, as far as that is known before its first byte. */
  async why(row: number): Promise<string | undefined> {
    const known = this.#missing.get(row)
    if (known !== undefined) return known
    if (this.#lacks(row) > 0) return this.#miss(row, this.#truncated(row))
    if (this.#isTooSparse(row)) return this.#miss(row, new Error('it has more holes than a tar can say'))
    this.#fill()
    for (const wanted of this.#ahead) {
      if (wanted.row !== row) break
      try {
        // oxlint-disable-next-line no-await-in-loop -- they are all on their way
        await wanted.bytes
      } catch (error) {
        this.#signal.throwIfAborted()
        this.#skip(row)
        return this.#miss(row, error)
      }
    }
    return undefined
  }

  /** What of a sparse file is no hole; undefined where none of its blocks is. */
  sparse(row: number): readonly SparseRange[] | undefined {
    const size = this.#index.size[row] ?? 0
    const ranges: { offset: number; size: number }[] = []
    let holes = 0
    for (let nth = 0; nth * LIMITS.blockBytesMax < size; nth += 1) {
      if (this.#isHole(row, nth)) {
        holes += 1
        continue
      }
      const offset = nth * LIMITS.blockBytesMax
      const bytes = Math.min(LIMITS.blockBytesMax, size - offset)
      const last = ranges.at(-1)
      if (last !== undefined && last.offset + last.size === offset) last.size += bytes
      else ranges.push({ offset, size: bytes })
    }
    return holes > 0 ? ranges : undefined
  }

  /** The blocks that are no holes. Throws what reading them throws, with the file's name: its header is written by then. */
  async *of(row: number): AsyncGenerator<Buffer, void> {
    for (;;) {
      this.#fill()
      const [wanted] = this.#ahead
      if (wanted?.row !== row) return
      try {
        yield await wanted.bytes
      } catch (error) {
        throw this.#named(row, error)
      }
      this.#ahead.shift()
    }
  }

  /** Waits for what was asked for ahead, when the tar ends early. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#ahead.splice(0).map(({ bytes }) => bytes))
  }

  *#blocks(): Generator<{ row: number; nth: number }> {
    const { leader, mode, size } = this.#index
    const seen = new Set<number>()
    for (const step of walk(this.#index, 0, Buffer.alloc(0))) {
      if (((mode[step.row] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.file) continue
      const row = leader[step.row] ?? step.row
      if ((this.#index.nlink[row] ?? 1) > 1) {
        if (seen.has(row)) continue
        seen.add(row)
      }
      if (this.#lacks(row) > 0 || this.#isTooSparse(row)) continue
      const count = Math.ceil((size[row] ?? 0) / LIMITS.blockBytesMax)
      for (let nth = 0; nth < count && !this.#missing.has(row); nth += 1) {
        if (!this.#isHole(row, nth)) yield { row, nth }
      }
    }
  }

  /** Many at a time: a disk that is asked for them together reads them together. */
  #fill(): void {
    if (this.#ahead.length > LIMITS.unpackBlocksAtOnce / 2) return
    while (this.#ahead.length < LIMITS.unpackBlocksAtOnce) {
      const next = this.#order.next()
      if (next.done === true) return
      const bytes = this.#ask(next.value.row, next.value.nth)
      // Its turn comes later.
      bytes.catch(() => undefined)
      this.#ahead.push({ ...next.value, bytes })
    }
  }

  async #ask(row: number, nth: number): Promise<Buffer> {
    const ref = blockRef(this.#index, row, nth)
    const bytes = await this.#supply.read(ref, this.#signal)
    invariant(bytes.length === ref.plainBytes, 'a block is as long as its file says')
    this.bytes += bytes.length
    return bytes
  }

  #isHole(row: number, nth: number): boolean {
    const { keys, first, hashBytes, size } = this.#index
    if ((nth + 1) * LIMITS.blockBytesMax > (size[row] ?? 0)) return false
    const at = ((first[row] ?? 0) + nth) * hashBytes
    return this.#zeros.equals(keys.subarray(at, at + hashBytes))
  }

  /** Of half a tebibyte and more. */
  #isTooSparse(row: number): boolean {
    if ((this.#index.size[row] ?? 0) < LIMITS.sparseRangesMax * LIMITS.blockBytesMax) return false
    return (this.sparse(row)?.length ?? 0) >= LIMITS.sparseRangesMax
  }

  #lacks(row: number): number {
    return Math.ceil((this.#index.size[row] ?? 0) / LIMITS.blockBytesMax) - (this.#index.count[row] ?? 0)
  }

  #truncated(row: number): FlistError {
    return new FlistError(
      'FLIST_FILE_TRUNCATED',
      `Cannot restore the file: the archive lacks ${this.#lacks(row)} blocks`,
    )
  }

  #miss(row: number, error: unknown): string {
    this.failures += 1
    this.firstFailure ??= error
    const why = describeError(error)
    this.#missing.set(row, why)
    return why
  }

  #skip(row: number): void {
    while (this.#ahead[0]?.row === row) this.#ahead.shift()
  }

  #named(row: number, error: unknown): unknown {
    if (!(error instanceof FlistError)) return error
    const { code, hint, message } = error
    const text = `Cannot write "${displayBytes(this.#index.pathOf(row))}": ${message.replace(/^Cannot /, '')}`
    return new FlistError(code, text, { cause: error, ...(hint === undefined ? {} : { hint }) })
  }
}
