import type { FlistIndex } from '../index-file.ts'
import { KeySet } from './key-set.ts'
import { blockSizes } from './summary.ts'

/** What one archive of several holds. Plain bytes; a block counts once for each archive that names it. */
export interface ArchiveShare {
  /** Sizes of its files, each inode once. */
  readonly apparentBytes: number
  readonly blocks: number
  /** Of its distinct blocks. */
  readonly bytes: number
  /** Of those, in no other archive that was given. */
  readonly onlyHereBytes: number
  /** Of those, in others too. */
  readonly sharedBytes: number
}

export interface ShareReport {
  readonly archives: readonly ArchiveShare[]
  /** What a store needs for all of them together. */
  readonly blocks: number
  readonly bytes: number
}

/** What archives share, by the keys of their blocks. All must be of one format: blocks of two formats are never the same. */
export function shareOf(indexes: readonly FlistIndex[]): ShareReport {
  const [first] = indexes
  const set = new KeySet(first?.hashBytes ?? 32)
  const sizes = indexes.map(blockSizes)
  // For each distinct block: how many archives name it, and its size; numbered in the order they are first seen.
  const owners: number[] = []
  const lastOwner: number[] = []
  const bytes: number[] = []
  const numbers = indexes.map((index) => new Uint32Array(index.blockCount))
  indexes.forEach((index, which) => {
    set.add(index.keys, (nth, isNew, number) => {
      ;(numbers[which] as Uint32Array)[nth] = number
      if (isNew) bytes[number] = sizes[which]?.[nth] ?? 0
      if (lastOwner[number] === which) return
      lastOwner[number] = which
      owners[number] = (owners[number] ?? 0) + 1
    })
  })
  const archives = indexes.map((index, which) => shareOfOne(index, numbers[which] ?? new Uint32Array(0), owners, bytes))
  return { archives, blocks: set.size, bytes: bytes.reduce((sum, size) => sum + size, 0) }
}

function shareOfOne(
  index: FlistIndex,
  numbers: Uint32Array,
  owners: readonly number[],
  bytes: readonly number[],
): ArchiveShare {
  const distinct = new Set(numbers)
  let onlyHereBytes = 0
  let sharedBytes = 0
  for (const number of distinct) {
    if (owners[number] === 1) onlyHereBytes += bytes[number] ?? 0
    else sharedBytes += bytes[number] ?? 0
  }
  const total = onlyHereBytes + sharedBytes
  return { apparentBytes: index.contentBytes, blocks: distinct.size, bytes: total, onlyHereBytes, sharedBytes }
}
