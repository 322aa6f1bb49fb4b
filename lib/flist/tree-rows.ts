import { groupBlocks, type GroupedBlocks } from './block-sections.ts'
import { FILE_TYPE } from './file-type.ts'
import type { TreeBuilder } from './tree-builder.ts'
import { orderTree, type OrderedTree } from './tree-order.ts'
import { checkRun, groupXattrs } from './xattr-sections.ts'

/** What a writer of archives asks a collected tree for, row by row in the order of the index. */
export class TreeRows {
  readonly tree: TreeBuilder
  readonly order: OrderedTree
  readonly #blocks: GroupedBlocks
  readonly #xattrStarts: Uint32Array
  readonly #xattrRecords: Uint32Array

  /** Throws what `orderTree` throws. */
  constructor(tree: TreeBuilder) {
    this.tree = tree
    this.order = orderTree(tree)
    this.#blocks = groupBlocks(tree, this.order)
    this.#xattrStarts = new Uint32Array(tree.xattrEntry.length === 0 ? 0 : tree.columns.count + 1)
    this.#xattrRecords = tree.xattrEntry.length === 0 ? new Uint32Array(0) : groupXattrs(tree, this.#xattrStarts)
  }

  /** The entry whose attributes the row has. */
  source(row: number): number {
    return this.order.sourceOf[row] ?? 0
  }

  mode(row: number): number {
    return this.tree.columns.mode[this.source(row)] ?? 0
  }

  type(row: number): number {
    return this.mode(row) & FILE_TYPE.mask
  }

  /** A view. */
  name(row: number): Buffer {
    const entry = this.order.entryOf[row] ?? 0
    const { nameAt, nameBytes } = this.tree.columns
    return this.#nameBytes(nameAt[entry] ?? 0, row === 0 ? 0 : (nameBytes[entry] ?? 0))
  }

  /** A symbolic link's; a view. */
  target(row: number): Buffer {
    const { first, references } = this.tree.columns
    return this.#nameBytes(first[this.source(row)] ?? 0, references[this.source(row)] ?? 0)
  }

  /** Of a device; else 0. */
  rdev(row: number): number {
    const type = this.type(row)
    return type === FILE_TYPE.block || type === FILE_TYPE.character
      ? (this.tree.columns.first[this.source(row)] ?? 0)
      : 0
  }

  uid(row: number): number {
    return this.tree.owners.pairs.values[2 * (this.tree.columns.owner[this.source(row)] ?? 0)] ?? 0
  }

  gid(row: number): number {
    return this.tree.owners.pairs.values[2 * (this.tree.columns.owner[this.source(row)] ?? 0) + 1] ?? 0
  }

  /** Block references of a file. */
  blockCount(row: number): number {
    return this.type(row) === FILE_TYPE.file ? (this.tree.columns.references[this.source(row)] ?? 0) : 0
  }

  /** Copies the id (0) or the key (1) of a file's block to `into` at `at`. */
  copyBlock(row: number, block: number, which: 0 | 1, into: Buffer, at: number): void {
    const record = this.#blocks.records[(this.#blocks.firstBlock[this.source(row)] ?? 0) + block] ?? 0
    this.tree.blocks.copy(record, which, into, at)
  }

  /** Sorted by name; of the row that stands for the inode. Views. */
  xattrs(row: number): { name: Buffer; value: Buffer }[] {
    const entry = this.source(row)
    const run = this.#xattrRecords.subarray(this.#xattrStarts[entry] ?? 0, this.#xattrStarts[entry + 1] ?? 0)
    if (run.length === 0) return []
    checkRun(this.tree, entry, run)
    const { values } = this.tree.xattrSpans
    const bytes = this.tree.xattrBytes.bytes
    return Array.from(run, (record) => {
      const [nameAt = 0, nameBytes = 0, valueAt = 0, valueBytes = 0] = values.subarray(record * 4, record * 4 + 4)
      return { name: bytes.subarray(nameAt, nameAt + nameBytes), value: bytes.subarray(valueAt, valueAt + valueBytes) }
    })
  }

  #nameBytes(from: number, bytes: number): Buffer {
    return this.tree.names.bytes.subarray(from, from + bytes)
  }
}
