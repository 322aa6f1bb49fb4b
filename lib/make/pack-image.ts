import { FlistError, LIMITS } from '../base/index.ts'
import { FILE_TYPE } from '../flist/index.ts'
import { type Image, imageContents, type ImageInode, imageNames, type ImageTree, mergeLayers } from '../oci/index.ts'
import { ArchiveMaker, type MadeArchive, type MakerOptions } from './archive-maker.ts'
import { addTree } from './image-entries.ts'
import type { PackProgress } from './pack.ts'
import { createdAt, startCommand, startupToml } from './startup.ts'

export interface PackImageRequest extends Omit<MakerOptions, 'onBytes'> {
  readonly image: Image
  /** Write `/.startup.toml`. One that the image has is left as it is. */
  readonly startup: boolean
  /** Which layer is read first, of how many. */
  readonly onLayer?: ((layer: number, layers: number) => void) | undefined
  readonly onProgress?: ((progress: PackProgress) => void) | undefined
}

export interface PackedImage extends MadeArchive {
  readonly layers: number
  /** Extended attributes that Linux does not have, or that are an overlay's own notes. */
  readonly attributesLeftOut: number
}

/** Tag of an archive that was made of an image: the image's configuration. */
export const CONFIG_TAG = 'x-oci-config'

/** From which Zero-OS knows what to start. */
export const STARTUP = '.startup.toml'
const STARTUP_MODE = 0o644
/**
 * Makes an archive of an image: layers are read twice, for their names and then for the bytes that are seen in the end; nothing is
 * unpacked. Same image, same bytes. Throws what reading the image and `ArchiveMaker` throw.
 */
export async function packImage(request: PackImageRequest, signal: AbortSignal): Promise<PackedImage> {
  const { image, startup, onLayer, onProgress } = request
  const { layers, config } = image
  if (config.length > LIMITS.tagBytesMax) {
    throw new FlistError(
      'FLIST_LIMIT',
      `Cannot use image "${image.name}": its configuration has more than ${LIMITS.tagBytesMax} bytes`,
    )
  }
  const merged = await mergeLayers(layers, (layer) => onLayer?.(layer, layers.length), signal)
  const total = contentBytes(merged)
  const contents: [entry: number, content: number][] = []
  const tags = new Map([...(request.tags ?? []), [CONFIG_TAG, config.toString('utf8')] as const])
  const options = {
    ...request,
    tags,
    onBytes: (bytes: number): void => onProgress?.({ bytes, total, entries: contents.length }),
  }
  await using maker = await ArchiveMaker.open(options, signal)
  const entries = addTree(maker, merged)
  if (startup && !(merged.root.children?.has(STARTUP) ?? false)) contents.push(...(await addStartup(maker, config)))
  for await (const { inode, bytes } of imageContents(merged, layers, signal)) {
    contents.push([entries.get(inode) ?? -1, await maker.writer.addContent(inode.size, bytes)])
  }
  await maker.writer.drain()
  for (const [entry, content] of contents) maker.addBlocks(entry, maker.writer.refsOf(content))
  const made = await maker.finish(signal)
  return { ...made, layers: layers.length, attributesLeftOut: merged.attributesLeftOut }
}

function contentBytes(tree: ImageTree): number {
  const seen = new Set<ImageInode>()
  let bytes = 0
  for (const { node } of imageNames(tree)) {
    if (seen.has(node.inode)) continue
    seen.add(node.inode)
    bytes += node.inode.size
  }
  return bytes
}

async function addStartup(maker: ArchiveMaker, config: Buffer): Promise<[entry: number, content: number][]> {
  const command = startCommand(config)
  if (command === undefined) return []
  const text = Buffer.from(startupToml(command))
  const time = createdAt(config)
  const mode = FILE_TYPE.file | STARTUP_MODE
  const entry = maker.tree.add(Buffer.from(STARTUP), mode, 0, 0, text.length, 0, time, 0, time, 0)
  maker.tree.setParent(entry, 0)
  return [[entry, await maker.writer.addContent(text.length, pieces(text))]]
}

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
