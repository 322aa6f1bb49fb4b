import { FlistError } from '../../base/index.ts'
import { FILE_TYPE, type FlistIndex, isFolder } from '../../flist/index.ts'
import { EditTree, type Inode, rowsBelow, type TreeNode } from './edit-tree.ts'

/** Notes of an overlay on what it holds, linux/Documentation/filesystems/overlayfs.rst. */
const NOTE = /^(?:trusted|user)\.overlay\.(.*)$/s
/** Of these its content cannot be understood alone: it is elsewhere below. */
const ELSEWHERE = new Set(['redirect', 'metacopy'])
/** The same of an image's layer, and what hides one name; OCI image-spec, layer.md. */
const OPAQUE_NAME = '.wh..wh..opq'
const HIDE_PREFIX = '.wh.'

/**
 * Trees one over the other, the later ones on top: a name of a later one takes the place of the earlier one's, two folders are joined and have
 * the later one's attributes. Whiteouts (character device 0:0, `.wh.NAME`) take names of earlier trees away and opaque folders hide them, and
 * none of these, nor any other note of an overlay, is in the result; with `whiteouts` false they are ordinary entries.
 */
export function mergeTrees(indexes: readonly FlistIndex[], whiteouts: boolean): EditTree {
  const [first, ...rest] = indexes
  if (first === undefined) throw new RangeError('There is nothing to merge')
  const tree = new EditTree(first)
  // The first one has nothing below it that its whiteouts could hide.
  if (whiteouts && hasWhiteouts(first)) tree.root = overlay(undefined, tree.root)
  for (const index of rest) {
    const upper = EditTree.rootOf(index)
    tree.root = whiteouts && hasWhiteouts(index) ? overlay(tree.root, upper) : join(tree.root, upper)
  }
  return tree
}

/** Without whiteouts: what is only in one of the two is not even looked into. */
function join(lower: TreeNode, upper: TreeNode): TreeNode {
  if (covers(upper, lower)) return upper
  for (const [name, below] of lower.takeChildren()) {
    const above = upper.children.get(name)
    if (above === undefined) upper.children.set(name, below)
    else if (above.isFolder && below.isFolder) join(below, above)
  }
  return upper
}

/** Whether nothing of the lower folder shows through: each of its names is in the upper one, and none is a folder in both. */
function covers({ unopened: above }: TreeNode, { unopened: below }: TreeNode): boolean {
  if (above === undefined || below === undefined) return false
  const { index } = below.from
  for (const row of rowsBelow(index, below.row)) {
    const found = above.from.index.find(above.row, index.names, index.nameAt[row] ?? 0, index.nameAt[row + 1] ?? 0)
    if (found < 0 || (isFolder(index, row) && isFolder(above.from.index, found))) return false
  }
  return true
}

/** The upper folder with what shows through of the lower one, and without its marks. */
function overlay(lower: TreeNode | undefined, upper: TreeNode): TreeNode {
  const { inode, children } = upper
  const isOpaque = children.delete(OPAQUE_NAME) || takeNotes(inode)
  const below = lower?.isFolder === true && !isOpaque ? new Map(lower.children) : new Map<string, TreeNode>()
  // All of them first: a folder that is here too must find nothing below it, whichever name comes first.
  for (const [name, node] of Array.from(children)) {
    const hidden = hiddenName(name, node)
    if (hidden === undefined) continue
    below.delete(hidden)
    children.delete(name)
  }
  for (const [name, node] of children) {
    if (node.isFolder) overlay(below.get(name), node)
    else takeNotes(node.inode)
    below.delete(name)
  }
  for (const [name, node] of below) if (!children.has(name)) children.set(name, node)
  return upper
}

/** Removes an overlay's notes; true where they hide what is below. Throws FLIST_USAGE for content that is not here. */
function takeNotes(inode: Inode): boolean {
  let isOpaque = false
  const kept = inode.xattrs.filter(({ name, value }) => {
    const note = NOTE.exec(name.toString('latin1'))?.[1]
    if (note === 'opaque') isOpaque = value.toString('latin1') === 'y'
    if (note === undefined || !ELSEWHERE.has(note)) return note === undefined
    throw new FlistError(
      'FLIST_USAGE',
      `Cannot merge: the overlay has a note "${note}", whose content lies elsewhere`,
      {
        hint: 'Pack the overlay as it is mounted, or mount it with redirect_dir=off,metacopy=off',
      },
    )
  })
  if (kept.length < inode.xattrs.length) inode.xattrs = kept
  return isOpaque
}

/** The name that this entry takes away, if it is a whiteout. */
function hiddenName(name: string, node: TreeNode): string | undefined {
  if ((node.mode & FILE_TYPE.mask) === FILE_TYPE.character && node.inode.rdev === 0) return name
  return name.startsWith(HIDE_PREFIX) ? name.slice(HIDE_PREFIX.length) : undefined
}

function hasWhiteouts(index: FlistIndex): boolean {
  for (let row = 0; row < index.rowCount; row += 1) {
    const type = (index.mode[row] ?? 0) & FILE_TYPE.mask
    if (type === FILE_TYPE.character && index.first[row] === 0) return true
    const at = index.nameAt[row] ?? 0
    if (index.names[at] === DOT && index.nameOf(row).toString('latin1').startsWith(HIDE_PREFIX)) return true
  }
  if (!index.hasXattrs) return false
  for (let row = 0; row < index.rowCount; row += 1) {
    if (index.xattrs(row).some(({ name }) => NOTE.test(name.toString('latin1')))) return true
  }
  return false
}

const DOT = 0x2e
