import { setTimeout as sleep } from 'node:timers/promises'
import { FlistError, LIMITS, type Log, describeError, displayBytes } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import { isFloatRounding } from '../flist/index.ts'
import { SharedBytes } from '../store/index.ts'
import type { BlockCache, BlockState, CachedBlock, CachedReader } from '../store/index.ts'
import type { BlockTable } from './block-table.ts'
import { blockPlace, blockRef, plainBytes } from './block-of-file.ts'
import { readFully } from './cached-reads.ts'
import { FileOrder } from './file-order.ts'
import { Readahead, type Run } from './readahead.ts'
import type { SegmentFiles } from './segment-files.ts'
import { S_IFMT, S_IFREG } from './tree.ts'

const BLOCK = LIMITS.blockBytesMax

export interface FetcherParts {
  readonly index: FlistIndex
  readonly table: BlockTable
  readonly files: SegmentFiles
  readonly cache: BlockCache
  /** Reads through the cache. */
  readonly reader: CachedReader
  readonly log: Log
  /** Milliseconds until a read fails. */
  readonly timeoutMs: number
  /** A read whose stores do not answer waits for them instead, for ever. */
  readonly waits?: boolean
}

/**
 * What the kernel asks for first when a program reads a file from its start in large pieces. Who looks at the head of a file asks for
 * less, and who maps it for two blocks at once.
 */
const EAGER_BYTES = 256 * 1024

/** Milliseconds between the tries of a read that waits. */
const WAIT_MS = 500
const WAIT_MAX_MS = 5_000

/** Reads that the cache alone cannot answer: fetches what is missing, and ahead of readers that go on in order. */
export class Fetcher {
  readonly #parts: FetcherParts
  readonly #order: FileOrder
  readonly #readahead: Readahead
  readonly #ending = new AbortController()
  /** What the pieces of reads are parts of. */
  readonly #whole = new WeakMap<Buffer, SharedBytes>()
  /** Reads that wait for stores to come back. */
  #waiting = 0

  constructor(parts: FetcherParts) {
    this.#parts = parts
    this.#order = new FileOrder(parts.index)
    this.#readahead = new Readahead(this.#order)
  }

  /**
   * The bytes of a file from `offset`, as pieces in order. The caller cut `wanted` to the file's end. Throws the worst
   * FLIST_BLOCK_*, FLIST_STORE_*, FLIST_FILE_TRUNCATED or FLIST_TIMEOUT met, and FLIST_INTERRUPTED on `signal` and `close`.
   */
  async read(row: number, offset: number, wanted: number, signal: AbortSignal): Promise<Buffer[]> {
    if (this.#parts.waits !== true) return this.#readOnce(row, offset, wanted, signal)
    let tries = 0
    try {
      for (;;) {
        try {
          return await this.#readOnce(row, offset, wanted, signal)
        } catch (error) {
          if (!isAway(error)) throw error
          if (signal.aborted || this.#ending.signal.aborted) throw this.#interrupted(row)
          if (tries === 0) this.#beginWait(error)
          tries += 1
          await this.#waitForStores(row, tries, signal)
        }
      }
    } finally {
      if (tries > 0) this.#endWait()
    }
  }

  /** Waiting is said once, however many do it. */
  #beginWait(error: FlistError): void {
    this.#waiting += 1
    if (this.#waiting === 1) this.#parts.log.warn('reads wait until a store is back', { why: error.message })
  }

  #endWait(): void {
    this.#waiting -= 1
    if (this.#waiting === 0) this.#parts.log.info('no read waits for a store any more')
  }

  async #waitForStores(row: number, tries: number, signal: AbortSignal): Promise<void> {
    const bound = Math.min(WAIT_MAX_MS, WAIT_MS * 2 ** (tries - 1))
    const either = AbortSignal.any([signal, this.#ending.signal])
    try {
      await sleep(bound * (0.5 + Math.random() / 2), undefined, { signal: either })
    } catch {
      throw this.#interrupted(row)
    }
  }

  async #readOnce(row: number, offset: number, wanted: number, signal: AbortSignal): Promise<Buffer[]> {
    const { index, timeoutMs } = this.#parts
    const end = Math.min(index.size[row] ?? 0, offset + wanted)
    if (offset >= end) return []
    const from = Math.floor(offset / BLOCK)
    const to = Math.floor((end - 1) / BLOCK)
    if (to >= (index.count[row] ?? 0)) throw this.#truncated(row)
    if (signal.aborted) throw this.#interrupted(row)
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(this.#timeout(row)), timeoutMs)
    const leave = (): void => deadline.abort(this.#interrupted(row))
    signal.addEventListener('abort', leave)
    try {
      const pieces: Promise<Buffer>[] = []
      for (let nth = from; nth <= to; nth += 1) {
        const start = Math.max(offset - nth * BLOCK, 0)
        pieces.push(this.#piece(row, nth, start, Math.min(end - nth * BLOCK, BLOCK), deadline.signal))
      }
      const first = index.first[row] ?? 0
      const run = this.#readahead.advance(row, first + from, first + to, offset === 0 && wanted >= EAGER_BYTES)
      if (run !== undefined) this.#fetchAhead(run)
      return await Promise.all(pieces)
    } catch (error) {
      // Who waited too long hears that, not that he left.
      const cause: unknown = deadline.signal.aborted ? deadline.signal.reason : error
      if (cause instanceof FlistError) throw this.#named(cause, row)
      throw cause
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', leave)
    }
  }

  /** The caller is done with what `read` gave him. */
  release(pieces: readonly Buffer[]): void {
    for (const piece of pieces) {
      this.#whole.get(piece)?.done()
      this.#whole.delete(piece)
    }
  }

  /** A reader went over these blocks (the session thread tells, where they were marked): goes on ahead of him. */
  advance(row: number, from: number, to: number): void {
    const run = this.#readahead.advance(row, from, to)
    if (run !== undefined) this.#fetchAhead(run)
  }

  advanceTo(block: number): void {
    const row = this.#order.rowOf(block)
    if (row >= 0) this.advance(row, block, block)
  }

  #fetchAhead(run: Run): void {
    const { index, table } = this.#parts
    // The mark lies in the middle, so that the next window is asked for while this one is still being read.
    table.mark(Math.floor((run.from + run.to) / 2))
    let row = this.#order.rowOf(run.from)
    for (let block = run.from; block <= run.to; block += 1) {
      if (row < 0 || block >= this.#order.endOf(row)) row = this.#order.rowOf(block)
      if (row < 0 || table.has(block)) continue
      const nth = block - (index.first[row] ?? 0)
      if (plainBytes(index, row, nth) <= 0) continue
      // Whoever reads the block meets the error and reports it.
      this.#fetch(row, nth, true, this.#ending.signal).catch(() => undefined)
    }
  }

  async #piece(row: number, nth: number, start: number, end: number, signal: AbortSignal): Promise<Buffer> {
    const fetched = await this.#fetch(row, nth, false, signal)
    if (fetched.bytes !== undefined) return this.#part(fetched.bytes, start, end, fetched.shared)
    const { location } = fetched
    const piece = Buffer.allocUnsafe(end - start)
    const fd = location === undefined ? -1 : this.#parts.files.open(location.segment)
    if (location !== undefined && fd >= 0 && readFully(fd, piece, 0, end - start, location.offset + start)) {
      return this.#part(piece, 0, piece.length, new SharedBytes(piece, 1))
    }
    // The segment went away or is shorter than its rows say: fetched once more, past the cache's word.
    this.#parts.cache.forget(blockRef(this.#parts.index, row, nth, false).key)
    const again = await this.#fetch(row, nth, false, signal)
    if (again.bytes === undefined) {
      throw new FlistError('FLIST_CACHE_UNUSABLE', 'Cannot read a block back from the cache', {
        hint: 'Look at the disk of the cache folder',
      })
    }
    return this.#part(again.bytes, start, end, again.shared)
  }

  #part(bytes: Buffer, start: number, end: number, shared: SharedBytes | undefined): Buffer {
    const piece = bytes.subarray(start, end)
    if (shared !== undefined) this.#whole.set(piece, shared)
    return piece
  }

  async #fetch(row: number, nth: number, ahead: boolean, signal: AbortSignal): Promise<CachedBlock> {
    const { index, table, reader } = this.#parts
    const fetched = await reader.get(blockRef(index, row, nth, ahead), blockPlace(index, row, nth), signal)
    if (fetched.location !== undefined) table.set((index.first[row] ?? 0) + nth, fetched.location)
    return fetched
  }

  #truncated(row: number): FlistError {
    const { index } = this.#parts
    const size = index.size[row] ?? 0
    const count = index.count[row] ?? 0
    const why = isFloatRounding(size, count)
      ? 'its writer (zflist) lost the last block by rounding the size to a 24-bit float'
      : 'its writer left blocks out'
    return new FlistError(
      'FLIST_FILE_TRUNCATED',
      `Cannot read the end of "${displayBytes(index.pathOf(row))}": the archive is damaged, it lists ${count} blocks for ${size} bytes; ${why}`,
      { hint: 'Make the archive again from its source' },
    )
  }

  #timeout(row: number): FlistError {
    const path = displayBytes(this.#parts.index.pathOf(row))
    return new FlistError('FLIST_TIMEOUT', `Cannot read "${path}" within ${this.#parts.timeoutMs} ms`, {
      hint: 'Look at the stores with `flistfs stats`, or give them more time with --timeout',
    })
  }

  #interrupted(row: number): FlistError {
    return new FlistError(
      'FLIST_INTERRUPTED',
      `Cannot read "${displayBytes(this.#parts.index.pathOf(row))}": interrupted`,
    )
  }

  /** The same error with the path that a person knows. */
  #named(error: FlistError, row: number): FlistError {
    const path = displayBytes(this.#parts.index.pathOf(row))
    if (error.message.includes(`"${path}"`)) return error
    const message = `Cannot read "${path}": ${describeError(error).replace(/^[A-Z_]+: Cannot /, '')}`
    return new FlistError(error.code, message, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    })
  }

  /**
   * Fills the table with what the cache already has, in small steps, so that the first read of an old block need not
   * come by here. Returns when all is looked up.
   */
  async fillTable(signal: AbortSignal): Promise<void> {
    const { index, table, cache } = this.#parts
    const step = 512
    for (let from = 0; from < index.blockCount && !signal.aborted; from += step) {
      const to = Math.min(from + step, index.blockCount)
      cache.findMany(index.keys, index.hashBytes, from, to, (block, at) => {
        if (!table.has(block)) table.set(block, at)
      })
      await new Promise(setImmediate)
    }
  }

  /** The path of a file that holds a row's content whole, once all of it is cached; undefined before. */
  async wholeFile(row: number): Promise<string | undefined> {
    const { index, table, cache } = this.#parts
    const first = index.first[row] ?? 0
    const end = first + (index.count[row] ?? 0)
    for (let block = first; block < end; block += 1) if (!table.has(block)) return undefined
    const name = blockPlace(index, row, 0)?.file
    if (name === undefined) return undefined
    const keys = Buffer.from(index.keys.subarray(first * index.hashBytes, end * index.hashBytes))
    return cache.whole.assemble(name, index.size[row] ?? 0, keys, index.hashBytes, this.#ending.signal)
  }

  /** Rows of files that may have a segment of their own. */
  *largeFiles(): Generator<number> {
    const { index } = this.#parts
    for (let row = 0; row < index.rowCount; row += 1) {
      const isFile = ((index.mode[row] ?? 0) & S_IFMT) === S_IFREG && index.leader[row] === row
      if (isFile && (index.size[row] ?? 0) >= LIMITS.ownSegmentBytesMin) yield row
    }
  }

  /** Where the nth block of a file stands, and its id. Asks nobody. */
  blockState(row: number, nth: number): { readonly id: Buffer; readonly state: BlockState } {
    const { index, table, reader } = this.#parts
    const ref = blockRef(index, row, nth, false)
    return { id: ref.id, state: table.has((index.first[row] ?? 0) + nth) ? 'cached' : reader.stateOf(ref) }
  }

  /** The session thread read these segments: they are not the least recently used. */
  used(segments: readonly number[]): void {
    this.#parts.cache.touch(segments)
  }

  close(): void {
    this.#ending.abort(new FlistError('FLIST_INTERRUPTED', 'Cannot go on fetching: the mount ends'))
    this.#parts.files.close()
  }
}

/** No store answered; all else a store can say is final. */
function isAway(error: unknown): error is FlistError {
  return error instanceof FlistError && (error.code === 'FLIST_STORE_UNREACHABLE' || error.code === 'FLIST_TIMEOUT')
}
