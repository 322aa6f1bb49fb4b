import { LIMITS } from '../base/index.ts'
import { damaged } from './damage.ts'
import type { SectionPieces } from './index-writer.ts'
import type { TreeBuilder } from './tree-builder.ts'
import type { OrderedTree } from './tree-order.ts'

/** Extended attributes by row (of leaders only), each inode's sorted by name. None: no sections. */
export function xattrSections(tree: TreeBuilder, order: OrderedTree): SectionPieces {
  if (tree.xattrEntry.length === 0) return {}
  const starts = new Uint32Array(tree.columns.count + 1)
  const records = groupXattrs(tree, starts)
  const at = new Uint32Array(order.rowCount + 1)
  const spans = new Uint32Array(tree.xattrSpans.length)
  let count = 0
  for (let row = 0; row < order.rowCount; row += 1) {
    at[row] = count
    if (order.leader[row] !== row) continue
    const entry = order.sourceOf[row] ?? 0
    const run = records.subarray(starts[entry] ?? 0, starts[entry + 1] ?? 0)
    if (run.length === 0) continue
    checkRun(tree, entry, run)
    for (const record of run) {
      spans.set(tree.xattrSpans.values.subarray(record * 4, record * 4 + 4), count * 4)
      count += 1
    }
  }
  at[order.rowCount] = count
  return {
    xattrAt: () => [new Uint8Array(at.buffer)],
    xattrEntries: () => [new Uint8Array(spans.buffer, 0, count * 16)],
    xattrBytes: () => [tree.xattrBytes.bytes.subarray(0, tree.xattrBytes.length)],
  }
}

/** Records by entry: those of entry `e` are `[starts[e], starts[e + 1])` of the result; `starts` has one more than the entries. */
export function groupXattrs(tree: TreeBuilder, starts: Uint32Array): Uint32Array {
  const { values, length } = tree.xattrEntry
  for (let record = 0; record < length; record += 1) {
    const entry = values[record] ?? 0
    starts[entry + 1] = (starts[entry + 1] ?? 0) + 1
  }
  for (let entry = 0; entry + 1 < starts.length; entry += 1) {
    starts[entry + 1] = (starts[entry + 1] ?? 0) + (starts[entry] ?? 0)
  }
  const cursor = starts.slice()
  const records = new Uint32Array(length)
  for (let record = 0; record < length; record += 1) {
    const entry = values[record] ?? 0
    const place = cursor[entry] ?? 0
    records[place] = record
    cursor[entry] = place + 1
  }
  return records
}

function nameOf(tree: TreeBuilder, record: number): Buffer {
  const from = tree.xattrSpans.values[record * 4] ?? 0
  return tree.xattrBytes.bytes.subarray(from, from + (tree.xattrSpans.values[record * 4 + 1] ?? 0))
}

/** Sorts an entry's records by name. Throws FLIST_ARCHIVE_DAMAGED where a name comes twice or all are too long. */
export function checkRun(tree: TreeBuilder, entry: number, run: Uint32Array): void {
  run.sort((a, b) => Buffer.compare(nameOf(tree, a), nameOf(tree, b)))
  let listBytes = 0
  let before: Buffer | undefined
  for (const record of run) {
    const name = nameOf(tree, record)
    if (before?.equals(name)) throw damaged(tree.display(entry), 'it has an extended attribute twice')
    before = name
    listBytes += name.length + 1
  }
  if (listBytes > LIMITS.xattrListBytesMax) {
    throw damaged(
      tree.display(entry),
      `its extended attributes' names have more than ${LIMITS.xattrListBytesMax} bytes`,
    )
  }
}
