import { FlistError, systemCode } from '../../base/index.ts'
import { hashArchive, type Route, TreeBuilder, writeArchive } from '../../flist/index.ts'
import { type BlockFormat, hashBytesOf } from '../../store/index.ts'
import { signTree } from '../sign/sign-tree.ts'
import type { SigningKey } from '../sign/private-key.ts'
import type { EditTree, Inode, TreeNode } from './edit-tree.ts'

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
  addNodes(builder, tree.root)
  await signTree(builder, sign, { signal })
  try {
    await writeArchive(builder, archive, { signal, onRows })
  } catch (error) {
    if (error instanceof FlistError || systemCode(error) === '') throw error
    const why = systemCode(error)
    throw new FlistError('FLIST_SYSTEM', `Cannot write the archive "${archive}": ${why}`, { cause: error })
  }
  return { archive, digest: await hashArchive(archive, signal), entries: builder.entryCount }
}

function addNodes(builder: TreeBuilder, root: TreeNode): void {
  const leaders = new Map<Inode, number>()
  const queue: { node: TreeNode; entry: number }[] = [{ node: root, entry: addEntry(builder, '', root.inode, leaders) }]
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    for (const [name, node] of next.node.takeChildren()) {
      const entry = addEntry(builder, name, node.inode, leaders)
      builder.setParent(entry, next.entry)
      if (node.isFolder) queue.push({ node, entry })
    }
  }
}

function addEntry(builder: TreeBuilder, name: string, inode: Inode, leaders: Map<Inode, number>): number {
  const { mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs, target, xattrs, refs } = inode
  const bytes = Buffer.from(name, 'latin1')
  const entry = builder.add(bytes, mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs)
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
