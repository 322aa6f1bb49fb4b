import type { FlistIndex } from '../flist/index.ts'
import { plainBytes } from './block-of-file.ts'
import { S_IFMT, S_IFREG } from './tree.ts'

/** From a block reference's number to its file. Made on first need: it costs 4 bytes a file. */
export class FileOrder {
  readonly #index: FlistIndex
  #rows: Uint32Array | undefined

  constructor(index: FlistIndex) {
    this.#index = index
  }

  get blockCount(): number {
    return this.#index.blockCount
  }

  /** The row (a leader) of the file that this block belongs to, or -1. */
  rowOf(block: number): number {
    const rows = (this.#rows ??= filesOf(this.#index))
    let low = 0
    let high = rows.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#index.first[rows[middle] ?? 0] ?? 0) <= block) low = middle + 1
      else high = middle
    }
    const row = rows[low - 1]
    return row !== undefined && block < this.endOf(row) ? row : -1
  }

  /** One more than the last block of a file. */
  endOf(row: number): number {
    return (this.#index.first[row] ?? 0) + (this.#index.count[row] ?? 0)
  }

  plainBytesOf(block: number): number {
    const row = this.rowOf(block)
    return row < 0 ? 0 : plainBytes(this.#index, row, block - (this.#index.first[row] ?? 0))
  }
}

/** Rows of files with blocks, by their first block. */
function filesOf(index: FlistIndex): Uint32Array {
  const rows = new Uint32Array(index.rowCount)
  let count = 0
  for (let row = 0; row < index.rowCount; row += 1) {
    const isFile = ((index.mode[row] ?? 0) & S_IFMT) === S_IFREG
    if (isFile && index.leader[row] === row && index.count[row] !== 0) rows[count++] = row
  }
  return rows.slice(0, count)
}
