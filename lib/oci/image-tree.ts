import { LIMITS } from '../base/index.ts'
import { imageDamaged, imageLimit } from './image-error.ts'
import { checkedInode, type ImageInode, impliedFolder, xattrsOf } from './image-inode.ts'
import type { TarEntry } from './tar/tar-entry.ts'
import { nameIn } from './tar/tar-reader.ts'
import { isAufsMark, isOpaqueMark, partsOf, whiteoutOf } from './layer-names.ts'

/** A name in the merged tree. Hard links share the inode. */
export interface ImageNode {
  inode: ImageInode
  /** Of a folder; keys are names, a character a byte (latin1). */
  readonly children: Map<string, ImageNode> | undefined
  /** The last layer that put this name, or something below it, here: a whiteout of that layer leaves it. */
  touched: number
  /** The layer whose whiteout has gone through this folder; a second time changes nothing. */
  purged: number
}

/** Names, targets and attributes together must fit into memory. */
const BYTES_MAX = LIMITS.imageNamesBytesMax

/**
 * The tree of an image, grown layer by layer as programs that unpack layers one over another do, but of metadata only: a file
 * knows where its bytes lie. Symbolic links on the way to a name are followed inside the tree (docs/decisions/210). Whiteouts
 * hide what lower layers have, wherever they stand in theirs. Throws FLIST_IMAGE_DAMAGED and FLIST_LIMIT.
 */
export class ImageTree {
  readonly root: ImageNode = newNode(impliedFolder(), -1)
  /** Attributes left out: of no namespace Linux has, or an overlay's own notes. */
  attributesLeftOut = 0
  #count = 1
  #bytes = 0
  #xattrs = 0
  #steps = 0
  #layer = -1
  #where = ''
  readonly #whiteouts: boolean

  /** Without `whiteouts` their names are names like any others: so it is in a tar that is no layer. */
  constructor({ whiteouts = true }: { readonly whiteouts?: boolean } = {}) {
    this.#whiteouts = whiteouts
  }

  /** The entries that follow are those of this layer, counted from 0. */
  beginLayer(layer: number, where: string): void {
    this.#layer = layer
    this.#where = where
  }

  /** `number` is the entry's place in its layer. */
  apply(entry: TarEntry, number: number): void {
    const parts = partsOf(entry.name, () => nameIn(this.#where, entry.name))
    this.#account(entry)
    const name = parts.pop()
    if (name === undefined) return this.#applyRoot(entry, number)
    if (this.#whiteouts && isAufsMark(name)) return
    const marked = this.#whiteouts ? whiteoutOf(name) : undefined
    if (marked !== undefined) return this.#whiteout(parts, name, marked, entry)
    const walk = this.#folder(parts, entry, true)
    const folder = walk?.at(-1)
    if (walk === undefined || folder?.children === undefined) return
    const old = folder.children.get(name)
    const node = this.#newNode(entry, number, old)
    if (node === old) node.touched = this.#layer
    else folder.children.set(name, node)
    for (const above of walk) above.touched = this.#layer
  }

  #applyRoot(entry: TarEntry, number: number): void {
    if (entry.type !== 'directory') throw this.#damaged(entry, 'the root of an image is a folder')
    this.root.inode = this.#inode(entry, number)
  }

  #newNode(entry: TarEntry, number: number, old: ImageNode | undefined): ImageNode {
    if (entry.type === 'hardlink') return this.#link(entry, old)
    const inode = this.#inode(entry, number)
    if (inode.type === 'directory' && old?.children !== undefined) {
      old.inode = inode
      return old
    }
    return newNode(inode, this.#layer)
  }

  #inode(entry: TarEntry, number: number): ImageInode {
    const inode = checkedInode(entry, this.#layer, number, (why) => this.#damaged(entry, why))
    const { kept, leftOut } = xattrsOf(entry, (why) => this.#damaged(entry, why))
    this.attributesLeftOut += leftOut
    this.#xattrs += kept.length
    if (this.#xattrs > LIMITS.imageXattrsMax) {
      throw imageLimit(this.#where, `the image has more than ${LIMITS.imageXattrsMax} extended attributes`)
    }
    inode.xattrs = kept
    return inode
  }

  #link(entry: TarEntry, old: ImageNode | undefined): ImageNode {
    const parts = partsOf(entry.target, () => nameIn(this.#where, entry.name))
    const name = parts.pop()
    const folder = this.#folder(parts, entry, false)?.at(-1)
    const leader = name === undefined ? undefined : folder?.children?.get(name)
    if (leader === undefined) throw this.#damaged(entry, 'it is a hard link to what is not there')
    if (leader.children !== undefined) throw this.#damaged(entry, 'it is a hard link to a folder')
    if (leader === old) throw this.#damaged(entry, 'it is a hard link to itself')
    return newNode(leader.inode, this.#layer)
  }

  #whiteout(parts: readonly string[], name: string, marked: string, entry: TarEntry): void {
    const folder = this.#folder(parts, entry, false)?.at(-1)
    if (folder?.children === undefined) return
    if (isOpaqueMark(name)) return this.#purge(folder)
    if (marked === '' || marked === '.' || marked === '..') throw this.#damaged(entry, 'it hides no name')
    const node = folder.children.get(marked)
    if (node === undefined) return
    if (node.touched === this.#layer) this.#purge(node)
    else folder.children.delete(marked)
  }

  /** Takes away what this layer has not put here. */
  #purge(top: ImageNode): void {
    const folders = [top]
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      if (folder.children === undefined || folder.purged === this.#layer) continue
      folder.purged = this.#layer
      for (const [name, node] of folder.children) {
        if (node.touched === this.#layer) folders.push(node)
        else folder.children.delete(name)
      }
    }
  }

  /**
   * The folders from the root to the one named, symbolic links followed inside the tree. Where one is missing it is made, or
   * there is no answer.
   */
  #folder(parts: readonly string[], entry: TarEntry, make: boolean): ImageNode[] | undefined {
    const walk = [this.root]
    const todo = parts.toReversed()
    let links = 0
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      this.#step()
      const folder = walk.at(-1)
      if (part === '..') {
        if (walk.length === 1) throw this.#damaged(entry, 'a symbolic link on its way leads outside')
        walk.pop()
        continue
      }
      let node = folder?.children?.get(part)
      if (node === undefined) {
        if (!make) return undefined
        node = this.#implied(walk, part, entry)
      }
      if (node.inode.type === 'symlink') {
        links += 1
        if (links > LIMITS.linksFollowedMax) throw this.#damaged(entry, 'too many symbolic links are on its way')
        const { target } = node.inode
        if (target[0] === SLASH) walk.length = 1
        todo.push(...linkParts(target).toReversed())
        continue
      }
      // umoci writes whiteouts of what was in a folder that is a file now: there is nothing to hide.
      if (node.children === undefined && !make) return undefined
      if (node.children === undefined) throw this.#damaged(entry, `"${part}" on its way is no folder`)
      walk.push(node)
      if (walk.length > LIMITS.treeDepthMax) throw imageLimit(nameIn(this.#where, entry.name), 'it lies too deep')
    }
    return walk
  }

  #implied(walk: readonly ImageNode[], name: string, entry: TarEntry): ImageNode {
    if (name.length > LIMITS.nameBytesMax) throw this.#damaged(entry, 'a name on its way is too long')
    const node = newNode(impliedFolder(), this.#layer)
    walk.at(-1)?.children?.set(name, node)
    this.#countOne(name.length)
    return node
  }

  #account(entry: TarEntry): void {
    let bytes = entry.name.length + entry.target.length
    for (const { name, value } of entry.xattrs) bytes += name.length + value.length
    this.#countOne(bytes)
  }

  #countOne(bytes: number): void {
    this.#count += 1
    this.#bytes += bytes
    if (this.#count > LIMITS.imageEntriesMax) {
      throw imageLimit(this.#where, `the image has more than ${LIMITS.imageEntriesMax} entries`)
    }
    if (this.#bytes > BYTES_MAX) {
      throw imageLimit(this.#where, `the names and attributes of the image have more than ${BYTES_MAX} bytes`)
    }
  }

  #step(): void {
    this.#steps += 1
    if (this.#steps > LIMITS.imageStepsMax)
      throw imageLimit(this.#where, 'the names of the image are too deep and too many')
  }

  #damaged(entry: TarEntry, why: string): Error {
    return imageDamaged(nameIn(this.#where, entry.name), why)
  }
}

const SLASH = 0x2f

function newNode(inode: ImageInode, layer: number): ImageNode {
  return { inode, children: inode.type === 'directory' ? new Map() : undefined, touched: layer, purged: -1 }
}

/** ".." stays: the walk knows where it leads. */
function linkParts(target: Buffer): string[] {
  return target
    .toString('latin1')
    .split('/')
    .filter((part) => part !== '' && part !== '.')
}
