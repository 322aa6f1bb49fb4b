import { LIMITS } from '../../base/index.ts'
import { FILE_TYPE } from '../file-type.ts'
import type { FlistIndex } from '../index-file.ts'
import { typeName } from './entry.ts'
import { KeySet } from './key-set.ts'

/** What an archive holds, counted over its index. Sizes in bytes. */
export interface TreeSummary {
  /** Names by type; a further name of a hard link counts as `hard link`. */
  readonly entries: Readonly<Record<string, number>>
  /** Sum of the sizes of regular files, each inode once. */
  readonly contentBytes: number
  readonly blocks: {
    /** Blocks that files name. */
    readonly references: number
    readonly unique: number
    /** Plain bytes of the unique ones. */
    readonly uniqueBytes: number
  }
  /** Row of the largest file, or -1. */
  readonly largest: number
  /** Deepest entry; the root is 0. */
  readonly depth: number
}

export function summarize(index: FlistIndex): TreeSummary {
  const entries: Record<string, number> = {}
  let largest = -1
  let depth = 0
  const depths = new Uint16Array(index.rowCount)
  for (let row = 0; row < index.rowCount; row += 1) {
    const mode = index.mode[row] ?? 0
    const isLeader = index.leader[row] === row
    const name = isLeader ? typeName(mode) : 'hard link'
    entries[name] = (entries[name] ?? 0) + 1
    if (row > 0) depths[row] = (depths[index.parent[row] ?? 0] ?? 0) + 1
    depth = Math.max(depth, depths[row] ?? 0)
    if (!isLeader || (mode & FILE_TYPE.mask) !== FILE_TYPE.file) continue
    if (largest < 0 || (index.size[row] ?? 0) > (index.size[largest] ?? 0)) largest = row
  }
  const sizes = blockSizes(index)
  const set = new KeySet(index.hashBytes)
  let uniqueBytes = 0
  set.add(index.keys, (nth, isNew) => (uniqueBytes += isNew ? (sizes[nth] ?? 0) : 0))
  const blocks = { references: index.blockCount, unique: set.size, uniqueBytes }
  return { entries, contentBytes: index.contentBytes, blocks, largest, depth }
}

/** Plain bytes of each block, by its number. */
export function blockSizes(index: FlistIndex): Uint32Array {
  const sizes = new Uint32Array(index.blockCount)
  for (let row = 0; row < index.rowCount; row += 1) {
    if (((index.mode[row] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.file || index.leader[row] !== row) continue
    const first = index.first[row] ?? 0
    const size = index.size[row] ?? 0
    const count = index.count[row] ?? 0
    for (let nth = 0; nth < count; nth += 1) {
      sizes[first + nth] = Math.max(0, Math.min(LIMITS.blockBytesMax, size - nth * LIMITS.blockBytesMax))
    }
  }
  return sizes
}
