import type { FileOrder } from './file-order.ts'

/** What is fetched ahead of a reader at most: 16 MiB of full blocks, or 64 small files. */
const WINDOW_BYTES_MAX = 16 * 1024 * 1024
const WINDOW_BLOCKS_MAX = 64
const STREAMS_MAX = 64
/** Files read in order before others are fetched ahead: less would fetch what nobody reads. */
const FILES_IN_ORDER_MIN = 3

interface Stream {
  /** The block a sequential reader asks for next. */
  next: number
  /** Blocks read in order. */
  blocks: number
  /** Files read in order, and the last of them. */
  files: number
  row: number
  /** First block not yet asked for ahead. */
  ahead: number
}

export interface Run {
  readonly from: number
  /** The last block, included. */
  readonly to: number
}

/**
 * Finds readers that go through an archive in order and says what they will want. Block numbers run through the files
 * of a folder in name order, so a reader of many small files (tar, grep) is a stream like the reader of a large one.
 */
export class Readahead {
  readonly #order: FileOrder
  /** Least recently used first. */
  readonly #streams: Stream[] = []

  constructor(order: FileOrder) {
    this.#order = order
  }

  /**
   * A reader took blocks `from` to `to` (both included) of the file `row`. `eager`: his first read says already that he will go on.
   * Returns the run to fetch ahead, if any.
   */
  advance(row: number, from: number, to: number, eager = false): Run | undefined {
    const stream = this.#find(from) ?? this.#begin(row, from)
    if (eager && stream.blocks === 0) stream.blocks = 1
    if (to + 1 > stream.next) {
      stream.blocks += to + 1 - stream.next
      stream.next = to + 1
    }
    if (row !== stream.row) stream.files += 1
    stream.row = row
    if (stream.files >= FILES_IN_ORDER_MIN) return this.#window(stream, this.#order.blockCount)
    return stream.blocks < 2 ? undefined : this.#window(stream, this.#order.endOf(row))
  }

  #window(stream: Stream, limit: number): Run | undefined {
    const blocks = Math.min(WINDOW_BLOCKS_MAX, 2 ** Math.min(stream.blocks, 6))
    const start = Math.max(stream.ahead, stream.next)
    let bytes = 0
    let block = stream.next
    while (block < limit && block < stream.next + blocks && bytes < WINDOW_BYTES_MAX) {
      bytes += this.#order.plainBytesOf(block)
      block += 1
    }
    // Each step costs a message: go on when half of the window is used up, or at its end.
    const fresh = block - start
    if (fresh <= 0 || (block < limit && fresh < (block - stream.next) / 2)) return undefined
    stream.ahead = block
    return { from: start, to: block - 1 }
  }

  /** The stream that this block continues: the block before it was read last, or it was asked for ahead. */
  #find(block: number): Stream | undefined {
    const at = this.#streams.findIndex(
      (stream) =>
        block >= stream.next - 1 &&
        block <= Math.max(stream.ahead, stream.next) &&
        block - stream.next < WINDOW_BLOCKS_MAX,
    )
    if (at < 0) return undefined
    const [stream] = this.#streams.splice(at, 1)
    if (stream !== undefined) this.#streams.push(stream)
    return stream
  }

  #begin(row: number, block: number): Stream {
    const stream = { next: block, blocks: 0, files: 1, row, ahead: block }
    this.#streams.push(stream)
    if (this.#streams.length > STREAMS_MAX) this.#streams.shift()
    return stream
  }
}
