import { FILE_TYPE } from './file-type.ts'
import type { SectionPieces } from './index-writer.ts'
import type { TreeBuilder } from './tree-builder.ts'
import type { OrderedTree } from './tree-order.ts'

const REFERENCES_PER_PIECE = 16384

/** Block references by inode: those of entry `e` are `records[firstBlock[e]]` and the next `references[e] - 1`. */
export interface GroupedBlocks {
  readonly blockCount: number
  /** By entry. */
  readonly firstBlock: Uint32Array
  /** Numbers of records of `tree.blocks`. */
  readonly records: Uint32Array
}

/**
 * Block references in row order, each inode's together: archives interleave files that were packed side by side.
 * The references of a hard link's own row are left out: its leader has them too.
 */
export function groupBlocks(tree: TreeBuilder, order: OrderedTree): GroupedBlocks {
  const { mode, references, count } = tree.columns
  const firstBlock = new Uint32Array(count)
  const counted = new Uint8Array(count)
  let blockCount = 0
  for (let row = 0; row < order.rowCount; row += 1) {
    const entry = order.sourceOf[row] ?? 0
    if (order.leader[row] !== row || ((mode[entry] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.file) continue
    firstBlock[entry] = blockCount
    counted[entry] = 1
    blockCount += references[entry] ?? 0
  }
  const records = new Uint32Array(blockCount)
  const cursor = firstBlock.slice()
  const blockEntry = tree.blockEntry.values
  for (let record = 0; record < tree.blockEntry.length; record += 1) {
    const entry = blockEntry[record] ?? 0
    if (counted[entry] === 0) continue
    const at = cursor[entry] ?? 0
    records[at] = record
    cursor[entry] = at + 1
  }
  return { blockCount, firstBlock, records }
}

/** The sections of an index that hold block references; `firstBlock` by entry. */
export function blockSections(
  tree: TreeBuilder,
  order: OrderedTree,
): { sections: SectionPieces; blockCount: number; firstBlock: Uint32Array } {
  const { blockCount, firstBlock, records } = groupBlocks(tree, order)
  return {
    blockCount,
    firstBlock,
    sections: { ids: () => halves(tree, records, 0), keys: () => halves(tree, records, 1) },
  }
}

function* halves(tree: TreeBuilder, records: Uint32Array, which: 0 | 1): Generator<Uint8Array> {
  const bytes = tree.hashBytes
  const piece = Buffer.allocUnsafeSlow(REFERENCES_PER_PIECE * bytes)
  for (let from = 0; from < records.length; from += REFERENCES_PER_PIECE) {
    const to = Math.min(from + REFERENCES_PER_PIECE, records.length)
    for (let at = from; at < to; at += 1) tree.blocks.copy(records[at] ?? 0, which, piece, (at - from) * bytes)
    yield piece.subarray(0, (to - from) * bytes)
  }
}
