import { FILE_TYPE, type FlistIndex, rowStat } from '../../flist/index.ts'

export interface Xattr {
  readonly name: Buffer
  readonly value: Buffer
}

/** What the names of one file have in common. */
export interface Inode {
  mode: number
  uid: number
  gid: number
  readonly size: number
  readonly rdev: number
  mtime: number
  mtimeNs: number
  ctime: number
  ctimeNs: number
  readonly target: Buffer | undefined
  xattrs: readonly Xattr[]
  /** Id and key of each block, one after the other. */
  readonly refs: Buffer
}

/** A name. Children of a folder that nobody has looked into stay where they are, in an index. */
export class TreeNode {
  readonly inode: Inode
  #children: Map<string, TreeNode> | undefined
  #source: { readonly tree: EditTree; readonly from: IndexSource; readonly row: number } | undefined

  constructor(inode: Inode, source?: { tree: EditTree; from: IndexSource; row: number }) {
    this.inode = inode
    this.#source = source
  }

  get isFolder(): boolean {
    return (this.inode.mode & FILE_TYPE.mask) === FILE_TYPE.directory
  }

  /** The children, which the node then has no longer: who walks the whole of a tree for the last time holds a part of it only. */
  takeChildren(): Map<string, TreeNode> {
    const { children } = this
    this.#children = undefined
    return children
  }

  /** By name: one character a byte. */
  get children(): Map<string, TreeNode> {
    if (this.#children !== undefined) return this.#children
    const children = new Map<string, TreeNode>()
    if (this.#source !== undefined && this.isFolder) {
      const { tree, from, row } = this.#source
      const { index } = from
      const first = index.first[row] ?? 0
      const end = first + (index.count[row] ?? 0)
      for (let child = first; child < end; child += 1) {
        children.set(index.nameOf(child).toString('latin1'), tree.node(from, child))
      }
    }
    this.#source = undefined
    this.#children = children
    return children
  }
}

/** One archive's part in a tree. Hard links stay together by their leader. */
export interface IndexSource {
  readonly index: FlistIndex
  readonly linked: Map<number, Inode>
}

/** A tree in memory that can be changed: from one archive, or from several. */
export class EditTree {
  root: TreeNode

  constructor(index: FlistIndex) {
    this.root = this.node(EditTree.source(index), 0)
  }

  static source(index: FlistIndex): IndexSource {
    return { index, linked: new Map() }
  }

  /** A row of an archive with all that is below it. */
  node(from: IndexSource, row: number): TreeNode {
    return new TreeNode(inodeOf(from, row), { tree: this, from, row })
  }
}

const NOTHING = Buffer.alloc(0)

export function inodeOf(from: IndexSource, row: number): Inode {
  const { index, linked } = from
  const leader = index.leader[row] ?? row
  const known = linked.get(leader)
  if (known !== undefined) return known
  const { ino: _ino, nlink, row: _row, target, ...stat } = rowStat(index, leader)
  const inode: Inode = {
    ...stat,
    target: target === undefined ? undefined : Buffer.from(target),
    xattrs: index.xattrs(leader).map(({ name, value }) => ({ name: Buffer.from(name), value: Buffer.from(value) })),
    refs: refsOf(index, leader),
  }
  if (nlink > 1 && (stat.mode & FILE_TYPE.mask) !== FILE_TYPE.directory) linked.set(leader, inode)
  return inode
}

function refsOf(index: FlistIndex, row: number): Buffer {
  const isFile = ((index.mode[row] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.file
  const count = isFile ? (index.count[row] ?? 0) : 0
  if (count === 0) return NOTHING
  const { hashBytes, ids, keys } = index
  const refs = Buffer.allocUnsafe(2 * hashBytes * count)
  const first = (index.first[row] ?? 0) * hashBytes
  for (let nth = 0; nth < count; nth += 1) {
    const from = first + nth * hashBytes
    ids.copy(refs, 2 * nth * hashBytes, from, from + hashBytes)
    keys.copy(refs, (2 * nth + 1) * hashBytes, from, from + hashBytes)
  }
  return refs
}
