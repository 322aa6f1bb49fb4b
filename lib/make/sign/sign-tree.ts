import { type FlistIndex, FILE_TYPE, rowStat, SIGNATURE_TAG, statementOf, TreeBuilder } from '../../flist/index.ts'
import type { SigningKey } from './private-key.ts'
import { addSignatures, parseSignatures, signaturesText } from './signature.ts'

export interface SignTreeOptions {
  readonly signal: AbortSignal
  /** As `writeArchive` gets it: what v1 says of owners. */
  readonly numericOwner?: boolean
}

/**
 * Signs a tree that is whole, between its last change and `writeArchive`. Signatures it has of other keys stay, so who changed the tree takes
 * the tag away first. Without keys nothing is done. Throws what writing an archive throws, and FLIST_ARCHIVE_DAMAGED for a tag that is
 * no list of signatures.
 */
export async function signTree(
  tree: TreeBuilder,
  keys: readonly SigningKey[],
  options: SignTreeOptions,
): Promise<void> {
  if (keys.length === 0) return
  const old = tree.tags.get(SIGNATURE_TAG)
  const statement = await statementOf(tree, options)
  const signatures = old === undefined ? [] : parseSignatures(old, 'this archive')
  tree.tags.set(SIGNATURE_TAG, signaturesText(addSignatures(signatures, statement, keys)))
}

/** The tree of an archive once more, to be written again: its routes, its tags, and every entry in the order of its rows. */
export function treeOf(index: FlistIndex): TreeBuilder {
  const { format, hashBytes, rowCount, ids, keys } = index
  const tree = new TreeBuilder({ format, hashBytes })
  tree.routes = [...index.routes]
  for (const [name, value] of Object.entries(index.tags)) tree.tags.set(name, value)
  for (let row = 0; row < rowCount; row += 1) {
    const { mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs, target } = rowStat(index, row)
    tree.add(index.nameOf(row), mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs)
    if (row > 0) tree.setParent(row, index.parent[row] ?? 0)
    if (target !== undefined) tree.setTarget(row, target)
    const leader = index.leader[row] ?? row
    if (leader !== row) {
      tree.setLink(row, leader)
      continue
    }
    for (const { name, value } of index.xattrs(row)) tree.setXattr(row, name, value)
    if ((mode & FILE_TYPE.mask) !== FILE_TYPE.file) continue
    const first = index.first[row] ?? 0
    for (let block = first; block < first + (index.count[row] ?? 0); block += 1) {
      const from = block * hashBytes
      tree.addBlock(row, ids.subarray(from, from + hashBytes), keys.subarray(from, from + hashBytes))
    }
  }
  return tree
}
