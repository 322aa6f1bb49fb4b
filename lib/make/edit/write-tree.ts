import { setImmediate as nextTurn } from 'node:timers/promises'
import { FILE_TYPE, hashArchive, type Route, rowStat, TreeBuilder, writeArchive } from '../../flist/index.ts'
import { type BlockFormat, hashBytesOf } from '../../store/index.ts'
import { signTree } from '../sign/sign-tree.ts'
import type { SigningKey } from '../sign/private-key.ts'
import { unwritable } from '../unwritable.ts'
import { type EditTree, type IndexRow, type Inode, inodeOf, isLinked, rowsBelow, type TreeNode } from './edit-tree.ts'

export interface WriteTreeOptions {
  /** Replaced by rename. */
  readonly archive: string
  readonly format: BlockFormat
  readonly routes: readonly Route[]
  readonly tags: ReadonlyMap<string, string>
  readonly sign?: readonly SigningKey[] | undefined
  /** Rows that are written, of how many. */
  readonly onRows?: ((rows: number, total: number) => void) | undefined
}

export interface WrittenArchive {
  readonly archive: string
  /** SHA-256 of the archive. */
  readonly digest: string
  readonly entries: number
}

/** Writes a tree whose blocks are stored already; nothing is left of it then. Throws FLIST_LIMIT, FLIST_SYSTEM, FLIST_INTERRUPTED. */
export async function writeTree(
  tree: EditTree,
  options: WriteTreeOptions,
  signal: AbortSignal,
): Promise<WrittenArchive> {
  const { archive, format, routes, tags, sign = [], onRows } = options
  const builder = new TreeBuilder({ format, hashBytes: hashBytesOf(format) })
  builder.routes = [...routes]
  builder.tags = new Map(tags)
  await addNodes(builder, tree.root, signal)
  await signTree(builder, sign, { signal })
  try {
    await writeArchive(builder, archive, { signal, onRows })
  } catch (error) {
    throw unwritable(archive, error)
  }
  return { archive, digest: await hashArchive(archive, signal), entries: builder.entryCount }
}

/** An entry that is in the new tree, whose children are not yet. */
interface Open {
  readonly entry: number
  readonly children: TreeNode | IndexRow
}

/** Entries after which an interrupt is heard. */
const BREATH = 50_000

async function addNodes(builder: TreeBuilder, root: TreeNode, signal: AbortSignal): Promise<void> {
  const leaders = new Map<Inode, number>()
  let breath = 0
  const queue: Open[] = [{ entry: addNode(builder, NO_NAME, root, leaders), children: root }]
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    if (builder.entryCount - breath >= BREATH) {
      breath = builder.entryCount
      await nextTurn()
      signal.throwIfAborted()
    }
    const { entry: parent, children } = next
    const unopened = 'row' in children ? children : children.unopened
    if (unopened !== undefined) addRows(builder, unopened, parent, leaders, queue)
    if (unopened !== undefined || 'row' in children) continue
    for (const [name, node] of children.takeChildren()) {
      const entry = addNode(builder, Buffer.from(name, 'latin1'), node, leaders)
      builder.setParent(entry, parent)
      if (node.isFolder) queue.push({ entry, children: node })
    }
  }
}

const NO_NAME = Buffer.alloc(0)

/** What nobody has touched goes from index to tree without an object of its own. */
function addRows(
  builder: TreeBuilder,
  { from, row: folder }: IndexRow,
  parent: number,
  leaders: Map<Inode, number>,
  queue: Open[],
): void {
  const { index } = from
  for (const row of rowsBelow(index, folder)) {
    const name = index.nameOf(row)
    const entry = isLinked(index, row)
      ? addInode(builder, name, inodeOf(from, row), leaders)
      : addRow(builder, name, { from, row })
    builder.setParent(entry, parent)
    if (((index.mode[row] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.directory)
      queue.push({ entry, children: { from, row } })
  }
}

function addNode(builder: TreeBuilder, name: Buffer, node: TreeNode, leaders: Map<Inode, number>): number {
  const row = node.untouched
  return row === undefined ? addInode(builder, name, node.inode, leaders) : addRow(builder, name, row)
}

function addRow(builder: TreeBuilder, name: Buffer, { from: { index }, row }: IndexRow): number {
  const { mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs, target } = rowStat(index, row)
  const entry = builder.add(name, mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs)
  if (target !== undefined) builder.setTarget(entry, target)
  if (index.hasXattrs) for (const xattr of index.xattrs(row)) builder.setXattr(entry, xattr.name, xattr.value)
  if ((mode & FILE_TYPE.mask) !== FILE_TYPE.file) return entry
  const { hashBytes, ids, keys } = index
  const first = index.first[row] ?? 0
  for (let block = first; block < first + (index.count[row] ?? 0); block += 1) {
    const [at, end] = [block * hashBytes, (block + 1) * hashBytes]
    builder.addBlock(entry, ids.subarray(at, end), keys.subarray(at, end))
  }
  return entry
}

function addInode(builder: TreeBuilder, name: Buffer, inode: Inode, leaders: Map<Inode, number>): number {
  const { mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs, target, xattrs, refs } = inode
  const entry = builder.add(name, mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs)
  const leader = leaders.get(inode)
  if (leader !== undefined) {
    builder.setLink(entry, leader)
    return entry
  }
  leaders.set(inode, entry)
  if (target !== undefined) builder.setTarget(entry, target)
  for (const xattr of xattrs) builder.setXattr(entry, xattr.name, xattr.value)
  const half = builder.hashBytes
  for (let at = 0; at < refs.length; at += 2 * half) {
    builder.addBlock(entry, refs.subarray(at, at + half), refs.subarray(at + half, at + 2 * half))
  }
  return entry
}
