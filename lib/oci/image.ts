import { LIMITS } from '../base/index.ts'
import type { Digest } from './digest.ts'
import { imageLimit } from './image-error.ts'
import type { ImageInode } from './image-inode.ts'
import { type ImageNode, ImageTree } from './image-tree.ts'
import { type ImageLayer, layerEntries, UNFOLD } from './layer.ts'

/** An image whose layers are here to be read. */
export interface Image {
  /** As it was asked for, without secrets. */
  readonly name: string
  /** Of the manifest; of the configuration where there is none (`docker-archive:`). */
  readonly digest: Digest
  /** The configuration: JSON, as it stands. */
  readonly config: Buffer
  readonly platform: string
  readonly layers: readonly ImageLayer[]
  /** `done`: what was put aside for reading is removed; else layers of a registry stay for the next try. Idempotent. */
  close(done: boolean): Promise<void>
}

/** Reads the names and attributes of all layers, from the lowest up, and merges them. Checks each layer's digest. */
export async function mergeLayers(
  layers: readonly ImageLayer[],
  onLayer: (layer: number) => void,
  signal: AbortSignal,
  limits = { ...UNFOLD, imageBytesFree: LIMITS.imageBytesFree },
): Promise<ImageTree> {
  const tree = new ImageTree()
  const onBytes = imageBudget(layers, limits.ratioMax, limits.imageBytesFree)
  for (const [index, layer] of layers.entries()) {
    onLayer(index)
    tree.beginLayer(index, layer.where)
    for await (const { entry, number } of layerEntries(layer, signal, { ...limits, onBytes })) {
      tree.apply(entry, number)
    }
  }
  return tree
}

/** A small layer that is named a thousand times unfolds a thousand times: what it brings counts once, what it costs each time. */
function imageBudget(layers: readonly ImageLayer[], ratioMax: number, bytesFree: number): (bytes: number) => void {
  const sizes = new Map(layers.map(({ diffId, size }) => [diffId, size]))
  const stored = [...sizes.values()].reduce((sum, size) => sum + size, 0)
  const bytesMax = Math.max(bytesFree, ratioMax * stored)
  let spent = 0
  return (bytes) => {
    spent += bytes
    if (spent > bytesMax) throw imageLimit('the image', `its ${stored} bytes unfold to more than ${bytesMax}`)
  }
}

/** All names below the root, a folder before what is in it, the names of one folder in the order of their bytes. */
export function* imageNames(tree: ImageTree): Generator<{ name: Buffer; node: ImageNode; parent: ImageNode }> {
  const folders: ImageNode[] = [tree.root]
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    const names = [...(folder.children?.keys() ?? [])].sort(byBytes)
    for (const name of names) {
      const node = folder.children?.get(name)
      if (node === undefined) continue
      yield { name: Buffer.from(name, 'latin1'), node, parent: folder }
      if (node.children !== undefined) folders.push(node)
    }
  }
}

/** Keys hold a byte a character, so their order is that of the bytes. */
function byBytes(a: string, b: string): number {
  return a < b ? -1 : 1
}

export interface FileContent {
  readonly inode: ImageInode
  /** To be read before the next one is asked for. */
  readonly bytes: AsyncIterable<Buffer>
}

/**
 * The bytes of every file that is seen in the merged tree, each once, in the order in which the layers have them. Layers of which
 * nothing is seen are not read again.
 */
export async function* imageContents(
  tree: ImageTree,
  layers: readonly ImageLayer[],
  signal: AbortSignal,
): AsyncGenerator<FileContent, void, undefined> {
  const wanted = layers.map(() => new Map<number, ImageInode>())
  for (const { node } of imageNames(tree)) {
    const { inode } = node
    if (inode.type === 'file' && inode.size > 0) wanted[inode.layer]?.set(inode.entry, inode)
  }
  for (const [index, layer] of layers.entries()) {
    const here = wanted[index]
    if (here === undefined || here.size === 0) continue
    for await (const found of layerEntries(layer, signal)) {
      const inode = here.get(found.number)
      if (inode !== undefined) yield { inode, bytes: found.content() }
    }
  }
}
