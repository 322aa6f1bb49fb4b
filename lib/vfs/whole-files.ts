import { closeSync, fstatSync, openSync } from 'node:fs'
import { LIMITS } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import { segmentPath } from '../store/index.ts'
import type { BlockTable } from './block-table.ts'
import { S_IFMT, S_IFREG } from './tree.ts'

/** Finds large files whose content lies whole in one segment of its own, which the kernel may then read itself. */
export class WholeFiles {
  readonly #index: FlistIndex
  readonly #table: BlockTable
  readonly #cacheDir: string

  constructor(index: FlistIndex, table: BlockTable, cacheDir: string) {
    this.#index = index
    this.#table = table
    this.#cacheDir = cacheDir
  }

  /** A descriptor the caller closes, or -1 where not all of the file is here in one piece. */
  open(row: number): number {
    const { mode, size, first, count } = this.#index
    const bytes = size[row] ?? 0
    if (((mode[row] ?? 0) & S_IFMT) !== S_IFREG || bytes < LIMITS.ownSegmentBytesMin) return -1
    const start = first[row] ?? 0
    const segment = this.#table.segmentOf(start)
    const blocks = count[row] ?? 0
    if (segment === 0 || blocks !== Math.ceil(bytes / LIMITS.blockBytesMax)) return -1
    for (let nth = 0; nth < blocks; nth += 1) {
      const there = this.#table.segmentOf(start + nth) === segment
      if (!there || this.#table.offsetOf(start + nth) !== nth * LIMITS.blockBytesMax) return -1
    }
    return this.#openSized(segment, bytes)
  }

  /** A file shorter or longer than the archive says would show through. */
  #openSized(segment: number, bytes: number): number {
    try {
      const fd = openSync(segmentPath(this.#cacheDir, segment), 'r')
      if (fstatSync(fd).size === bytes) return fd
      closeSync(fd)
      return -1
    } catch {
      return -1
    }
  }
}
