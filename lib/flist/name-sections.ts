import { FILE_TYPE } from './file-type.ts'
import type { SectionPieces } from './index-writer.ts'
import type { TreeBuilder } from './tree-builder.ts'
import type { OrderedTree } from './tree-order.ts'

const PIECE_BYTES = 1024 * 1024

/** Names in row order, then the targets of symbolic links; `targetAt` by row, 0 where there is none. */
export function nameSections(
  tree: TreeBuilder,
  order: OrderedTree,
): { sections: SectionPieces; targetAt: Uint32Array } {
  const { rowCount, entryOf, sourceOf, leader } = order
  const { nameBytes, mode, references } = tree.columns
  const nameAt = new Uint32Array(rowCount + 1)
  const targetAt = new Uint32Array(rowCount)
  let at = 0
  // The root's name is empty.
  for (let row = 1; row < rowCount; row += 1) {
    nameAt[row] = at
    at += nameBytes[entryOf[row] ?? 0] ?? 0
  }
  nameAt[rowCount] = at
  for (let row = 0; row < rowCount; row += 1) {
    const entry = sourceOf[row] ?? 0
    if (leader[row] !== row || ((mode[entry] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.link) continue
    targetAt[row] = at
    at += references[entry] ?? 0
  }
  return {
    targetAt,
    sections: { names: () => namePieces(tree, order), nameAt: () => [new Uint8Array(nameAt.buffer)] },
  }
}

function* namePieces(tree: TreeBuilder, order: OrderedTree): Generator<Uint8Array> {
  const { rowCount, entryOf, sourceOf, leader } = order
  const { nameAt, nameBytes, mode, first, references } = tree.columns
  const names = tree.names.bytes
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES)
  let at = 0
  for (let row = 1; row < rowCount; row += 1) {
    const entry = entryOf[row] ?? 0
    const from = nameAt[entry] ?? 0
    const bytes = nameBytes[entry] ?? 0
    if (at + bytes > PIECE_BYTES) {
      yield piece.subarray(0, at)
      at = 0
    }
    names.copy(piece, at, from, from + bytes)
    at += bytes
  }
  for (let row = 0; row < rowCount; row += 1) {
    const entry = sourceOf[row] ?? 0
    if (leader[row] !== row || ((mode[entry] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.link) continue
    const from = first[entry] ?? 0
    const bytes = references[entry] ?? 0
    if (at + bytes > PIECE_BYTES) {
      yield piece.subarray(0, at)
      at = 0
    }
    names.copy(piece, at, from, from + bytes)
    at += bytes
  }
  yield piece.subarray(0, at)
}
