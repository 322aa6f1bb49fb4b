import { LIMITS } from '../base/index.ts'
import { beyondLimit, damaged } from './damage.ts'
import { FILE_TYPE } from './file-type.ts'
import { sortByName, sameName } from './name-order.ts'
import { NONE } from './tree-builder.ts'
import type { TreeBuilder } from './tree-builder.ts'

/** Rows in their final numbering. The numbering is a frozen contract: `docs/index-layout.md`. */
export interface OrderedTree {
  readonly rowCount: number
  readonly inodeCount: number
  /** Entry of each row. */
  readonly entryOf: Uint32Array
  /** Entry whose attributes a row takes: itself, or the leader's. */
  readonly sourceOf: Uint32Array
  /** Row of the parent. */
  readonly parent: Uint32Array
  /** Row that stands for the inode: the lowest of a group of hard links. */
  readonly leader: Uint32Array
  readonly nlink: Uint32Array
  /** Folders: row of the first child and number of children. */
  readonly firstChild: Uint32Array
  readonly childCount: Uint32Array
}

/** Checks the tree as a whole and numbers its rows breadth first, children by the bytes of their names. */
export function orderTree(tree: TreeBuilder): OrderedTree {
  const count = tree.columns.count
  if (count === 0) throw damaged('this archive', 'it has no root')
  if (((tree.columns.mode[0] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.directory) {
    throw damaged('this archive', 'its root is no folder')
  }
  checkEntries(tree)
  const starts = new Uint32Array(count + 1)
  const children = groupChildren(tree, starts)
  const entryOf = new Uint32Array(count)
  const parent = new Uint32Array(count)
  const firstChild = new Uint32Array(count)
  const childCount = new Uint32Array(count)
  const nlink = new Uint32Array(count).fill(1)
  let rows = 1
  let levelEnd = 1
  let depth = 0
  for (let row = 0; row < rows; row += 1) {
    if (row === levelEnd) {
      levelEnd = rows
      depth += 1
      if (depth > LIMITS.treeDepthMax) {
        throw beyondLimit('this archive', `its folders are more than ${LIMITS.treeDepthMax} levels deep`)
      }
    }
    const entry = entryOf[row] ?? 0
    if (((tree.columns.mode[entry] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.directory) continue
    const from = starts[entry] ?? 0
    const to = starts[entry + 1] ?? 0
    const run = children.subarray(from, to)
    sortByName(tree, run)
    firstChild[row] = to > from ? rows : 0
    childCount[row] = to - from
    entryOf.set(run, rows)
    parent.fill(row, rows, rows + run.length)
    nlink[row] = 2 + countFolders(tree, run)
    rows += run.length
  }
  if (rows !== count) throw unreachable(tree, entryOf, rows)
  return { rowCount: rows, entryOf, parent, firstChild, childCount, nlink, ...resolveLinks(tree, entryOf, nlink) }
}

function checkEntries(tree: TreeBuilder): void {
  const { mode, size, references, nameAt, nameBytes, leader, count } = tree.columns
  const names = tree.names.bytes
  for (let entry = 0; entry < count; entry += 1) {
    if (entry > 0) checkName(tree, entry, names, nameAt[entry] ?? 0, nameBytes[entry] ?? 0)
    // What another name of an inode says of itself does not count.
    if ((leader[entry] ?? NONE) !== NONE) continue
    const type = (mode[entry] ?? 0) & FILE_TYPE.mask
    const refs = references[entry] ?? 0
    if (type === FILE_TYPE.link && refs === 0)
      throw damaged(tree.display(entry), 'it is a symbolic link without target')
    if (type === FILE_TYPE.file && refs > Math.ceil((size[entry] ?? 0) / LIMITS.blockBytesMax)) {
      throw damaged(tree.display(entry), `it has ${refs} blocks, more than its size calls for`)
    }
  }
}

const SLASH = 0x2f
const DOT = 0x2e

function checkName(tree: TreeBuilder, entry: number, names: Buffer, from: number, bytes: number): void {
  if (bytes === 0) throw damaged(tree.display(entry), 'its name is empty')
  if (bytes > LIMITS.nameBytesMax) {
    throw damaged(tree.display(entry), `its name has more than ${LIMITS.nameBytesMax} bytes`)
  }
  for (let at = from; at < from + bytes; at += 1) {
    const byte = names[at]
    if (byte === 0 || byte === SLASH) throw damaged(tree.display(entry), 'its name has a slash or a NUL')
  }
  if (bytes <= 2 && names[from] === DOT && names[from + bytes - 1] === DOT) {
    throw damaged(tree.display(entry), 'its name is "." or ".."')
  }
}

/** Entries by parent: those of entry `p` are `[starts[p], starts[p + 1])` of the result. */
function groupChildren(tree: TreeBuilder, starts: Uint32Array): Uint32Array {
  const { parent, mode, count } = tree.columns
  for (let entry = 1; entry < count; entry += 1) {
    const above = parent[entry] ?? NONE
    if (above === NONE) throw damaged(tree.display(entry), 'it is in no folder')
    if (((mode[above] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.directory) {
      throw damaged(tree.display(entry), 'its parent is no folder')
    }
    starts[above + 1] = (starts[above + 1] ?? 0) + 1
  }
  for (let entry = 0; entry < count; entry += 1) starts[entry + 1] = (starts[entry + 1] ?? 0) + (starts[entry] ?? 0)
  const cursor = starts.slice(0, count)
  const children = new Uint32Array(count - 1)
  for (let entry = 1; entry < count; entry += 1) {
    const above = parent[entry] ?? 0
    const at = cursor[above] ?? 0
    children[at] = entry
    cursor[above] = at + 1
  }
  return children
}

function countFolders(tree: TreeBuilder, run: Uint32Array): number {
  const { mode } = tree.columns
  let folders = 0
  for (let at = 0; at < run.length; at += 1) {
    const entry = run[at] ?? 0
    if (((mode[entry] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.directory) folders += 1
    if (at > 0 && sameName(tree, run[at - 1] ?? 0, entry)) {
      throw damaged(tree.display(entry), 'its folder has two entries of this name')
    }
  }
  return folders
}

function unreachable(tree: TreeBuilder, entryOf: Uint32Array, rows: number): Error {
  const seen = new Uint8Array(tree.columns.count)
  for (let row = 0; row < rows; row += 1) seen[entryOf[row] ?? 0] = 1
  return damaged(tree.display(seen.indexOf(0)), 'its parents go in a circle')
}

/** Hard links: whose attributes a row takes, which row stands for it, and how many names it has. */
function resolveLinks(tree: TreeBuilder, entryOf: Uint32Array, nlink: Uint32Array) {
  const { leader: leaderOf, mode, count } = tree.columns
  const leader = new Uint32Array(count)
  if (leaderOf.length === 0) {
    for (let row = 0; row < count; row += 1) leader[row] = row
    return { leader, sourceOf: entryOf, inodeCount: count }
  }
  const sourceOf = new Uint32Array(count)
  /** By entry: the lowest row of its group, and the group's size. */
  const lowest = new Uint32Array(count).fill(NONE)
  const members = new Uint32Array(count)
  let inodeCount = 0
  for (let row = 0; row < count; row += 1) {
    const entry = entryOf[row] ?? 0
    const named = leaderOf[entry] ?? NONE
    const source = named === NONE ? entry : named
    if (source !== entry) checkLink(tree, entry, source, mode, leaderOf)
    sourceOf[row] = source
    if (lowest[source] === NONE) {
      lowest[source] = row
      inodeCount += 1
    }
    members[source] = (members[source] ?? 0) + 1
    leader[row] = lowest[source] ?? row
  }
  for (let row = 0; row < count; row += 1) {
    const size = members[sourceOf[row] ?? 0] ?? 1
    if (size > 1) nlink[row] = size
  }
  return { leader, sourceOf, inodeCount }
}

function checkLink(tree: TreeBuilder, entry: number, source: number, mode: Uint16Array, leaders: Uint32Array): void {
  const type = (mode[source] ?? 0) & FILE_TYPE.mask
  if (type === FILE_TYPE.directory) throw damaged(tree.display(entry), 'it is a hard link to a folder')
  if (((mode[entry] ?? 0) & FILE_TYPE.mask) !== type) {
    throw damaged(tree.display(entry), 'it is a hard link to an entry of another type')
  }
  if ((leaders[source] ?? NONE) !== NONE) throw damaged(tree.display(entry), 'it is a hard link to a hard link')
}
