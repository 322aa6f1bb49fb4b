import { FILE_TYPE } from '../flist/index.ts'
import { type ImageInode, imageNames, type ImageNode, type ImageTree } from '../oci/index.ts'
import type { ArchiveMaker } from './archive-maker.ts'

/** What a folder's own file system says of its size is no property of the tree. */
const FOLDER_BYTES = 4096
const TYPE_BITS: Readonly<Record<ImageInode['type'], number>> = {
  file: FILE_TYPE.file,
  symlink: FILE_TYPE.link,
  character: FILE_TYPE.character,
  block: FILE_TYPE.block,
  directory: FILE_TYPE.directory,
  fifo: FILE_TYPE.fifo,
}

/** Puts all names in; gives the entry of each inode, its first name's. */
export function addTree(maker: ArchiveMaker, merged: ImageTree): Map<ImageInode, number> {
  const entries = new Map<ImageInode, number>()
  const folders = new Map<ImageNode, number>()
  folders.set(merged.root, addInode(maker, Buffer.alloc(0), merged.root.inode))
  for (const { name, node, parent } of imageNames(merged)) {
    const { inode } = node
    const leader = entries.get(inode)
    const entry = addInode(maker, name, inode, leader)
    maker.tree.setParent(entry, folders.get(parent) ?? 0)
    if (node.children !== undefined) folders.set(node, entry)
    if (leader === undefined) entries.set(inode, entry)
  }
  return entries
}

function addInode({ tree }: ArchiveMaker, name: Buffer, inode: ImageInode, leader?: number): number {
  const { type, uid, gid, mtime, mtimeNs, target, xattrs } = inode
  const mode = TYPE_BITS[type] | inode.mode
  const size = type === 'directory' ? FOLDER_BYTES : type === 'symlink' ? target.length : inode.size
  const entry = tree.add(name, mode, uid, gid, size, deviceOf(inode), mtime, mtimeNs, mtime, mtimeNs)
  if (leader !== undefined) {
    tree.setLink(entry, leader)
    return entry
  }
  if (type === 'symlink') tree.setTarget(entry, target)
  for (const xattr of xattrs) tree.setXattr(entry, xattr.name, xattr.value)
  return entry
}

/** The kernel's 32 bits, `new_encode_dev`. */
function deviceOf({ major, minor }: ImageInode): number {
  return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
}
