import { LIMITS } from '../base/index.ts'
import { decompressed } from './decompress.ts'
import { checked, type Digest } from './digest.ts'
import { imageLimit } from './image-error.ts'
import type { TarEntry } from './tar/tar-entry.ts'
import { nameIn, TarReader } from './tar/tar-reader.ts'

/** One layer of an image, its bytes here. */
export interface ImageLayer {
  /** In messages: `layer 2 of "debian:12"`. */
  readonly where: string
  /** Bytes as they are stored, compressed or not. */
  readonly size: number
  /** Of its tar. */
  readonly diffId: Digest
  /** The bytes as they are stored. May be called again. */
  open(signal: AbortSignal): AsyncIterable<Uint8Array>
}

export interface LayerEntry {
  readonly entry: TarEntry
  /** Its place in the layer, from 0. */
  readonly number: number
  /** To be read before the next entry is asked for, or not at all. */
  content(): AsyncIterable<Buffer>
}

/** How much a layer may unfold to. */
export interface UnfoldLimits {
  readonly ratioMax: number
  readonly bytesFree: number
  /** Told of bytes that were unfolded, holes too; may throw. */
  readonly onBytes?: (bytes: number) => void
}

export const UNFOLD: UnfoldLimits = { ratioMax: LIMITS.layerRatioMax, bytesFree: LIMITS.layerBytesFree }

/**
 * The entries of a layer as they stand in its tar, which is checked against its digest at the end. Throws FLIST_IMAGE_DAMAGED,
 * FLIST_DIGEST_MISMATCH, FLIST_FORMAT_UNKNOWN, FLIST_LIMIT.
 */
export async function* layerEntries(
  layer: ImageLayer,
  signal: AbortSignal,
  unfold: UnfoldLimits = UNFOLD,
): AsyncGenerator<LayerEntry, void, undefined> {
  const { where } = layer
  const bytesMax = Math.max(unfold.bytesFree, unfold.ratioMax * layer.size)
  const tooMuch = (): Error => imageLimit(where, `its ${layer.size} bytes unfold to more than ${bytesMax}`)
  const unpacked = bounded(decompressed(layer.open(signal), where), bytesMax, tooMuch, unfold.onBytes)
  const reader = new TarReader(checked(unpacked, layer.diffId, undefined, where), { where })
  let holes = 0
  try {
    for (let number = 0; ; number += 1) {
      const entry = await reader.next()
      signal.throwIfAborted()
      if (entry === undefined) break
      const hole = holeBytes(entry)
      holes += hole
      if (hole > 0) unfold.onBytes?.(hole)
      if (holes > bytesMax) throw imageLimit(nameIn(where, entry.name), `the holes of ${where} have too many bytes`)
      yield { entry, number, content: () => reader.content() }
    }
    await reader.drain()
  } finally {
    await reader.close()
  }
}

function holeBytes(entry: TarEntry): number {
  if (entry.sparse === undefined) return 0
  return entry.sparse.reduce((left, { size }) => left - size, entry.size)
}

async function* bounded(
  source: AsyncIterable<Buffer>,
  bytesMax: number,
  tooMuch: () => Error,
  onBytes?: (bytes: number) => void,
): AsyncGenerator<Buffer, void, undefined> {
  let bytes = 0
  for await (const piece of source) {
    bytes += piece.length
    if (bytes > bytesMax) throw tooMuch()
    onBytes?.(piece.length)
    yield piece
  }
}
