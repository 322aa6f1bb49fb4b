import { invariant } from '../../base/index.ts'
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

/** A name. What nobody has looked into stays where it is, in an index: a node is small, and there may be millions. */
export class TreeNode {
  #inode: Inode | undefined
  #children: Map<string, TreeNode> | undefined
  readonly #from: IndexSource | undefined
  readonly #row: number

  constructor(what: Inode | { readonly from: IndexSource; readonly row: number }) {
    this.#inode = 'from' in what ? undefined : what
    this.#from = 'from' in what ? what.from : undefined
    this.#row = 'from' in what ? what.row : -1
  }

  get inode(): Inode {
    if (this.#inode === undefined) {
      invariant(this.#from !== undefined, 'a node without an inode has a row')
      this.#inode = inodeOf(this.#from, this.#row)
    }
    return this.#inode
  }

  get mode(): number {
    return this.#inode?.mode ?? this.#from?.index.mode[this.#from.index.leader[this.#row] ?? 0] ?? 0
  }

  get isFolder(): boolean {
    return (this.mode & FILE_TYPE.mask) === FILE_TYPE.directory
  }

  /** Where its attributes are as they were: nobody has asked for its inode, which is no other name's either. */
  get untouched(): IndexRow | undefined {
    if (this.#inode !== undefined || this.#from === undefined) return undefined
    return isLinked(this.#from.index, this.#row) ? undefined : { from: this.#from, row: this.#row }
  }

  /** Where nobody has looked into it: all below it is as it was. */
  get unopened(): IndexRow | undefined {
    if (this.#children !== undefined || this.#from === undefined) return undefined
    return { from: this.#from, row: this.#row }
  }

  /** The children, which the node then has no longer: who walks the whole of a tree for the last time holds a part of it only. */
  takeChildren(): Map<string, TreeNode> {
    const { children } = this
    this.#children = new Map()
    return children
  }

  /** By name: one character a byte. */
  get children(): Map<string, TreeNode> {
    if (this.#children !== undefined) return this.#children
    const children = new Map<string, TreeNode>()
    const from = this.#from
    if (from !== undefined && this.isFolder) {
      for (const row of rowsBelow(from.index, this.#row)) {
        children.set(from.index.nameOf(row).toString('latin1'), new TreeNode({ from, row }))
      }
    }
    this.#children = children
    return children
  }
}

/** One archive's part in a tree. Hard links stay together by their leader. */
export interface IndexSource {
  readonly index: FlistIndex
  readonly linked: Map<number, Inode>
}

/** A row of an archive with all that is below it. */
export interface IndexRow {
  readonly from: IndexSource
  readonly row: number
}

/** A tree in memory that can be changed: from one archive, or from several, whose indexes stay open as long as it is used. */
export class EditTree {
  root: TreeNode

  constructor(index: FlistIndex) {
    this.root = EditTree.rootOf(index)
  }

  static rootOf(index: FlistIndex): TreeNode {
    return new TreeNode({ from: { index, linked: new Map() }, row: 0 })
  }
}

export function* rowsBelow(index: FlistIndex, row: number): Generator<number, void> {
  const first = index.first[row] ?? 0
  const end = first + (index.count[row] ?? 0)
  for (let child = first; child < end; child += 1) yield child
}

/** Whether a row is one name of several. */
export function isLinked(index: FlistIndex, row: number): boolean {
  const leader = index.leader[row] ?? row
  return (index.nlink[leader] ?? 1) > 1 && ((index.mode[leader] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.directory
}

const NOTHING = Buffer.alloc(0)

export function inodeOf(from: IndexSource, row: number): Inode {
  const { index, linked } = from
  const leader = index.leader[row] ?? row
  const known = linked.get(leader)
  if (known !== undefined) return known
  const { ino: _ino, nlink: _nlink, row: _row, target, ...stat } = rowStat(index, leader)
  const inode: Inode = {
    ...stat,
    target: target === undefined ? undefined : Buffer.from(target),
    xattrs: index.xattrs(leader).map(({ name, value }) => ({ name: Buffer.from(name), value: Buffer.from(value) })),
    refs: refsOf(index, leader),
  }
  if (isLinked(index, row)) linked.set(leader, inode)
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
