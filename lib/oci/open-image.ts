import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { FlistError, LIMITS } from '../base/index.ts'
import { daemonSocket, saveFromDaemon } from './daemon.ts'
import { compressionOf, decompressed } from './decompress.ts'
import { openDockerArchive } from './docker-archive.ts'
import type { Image } from './image.ts'
import { imageLimit } from './image-error.ts'
import { findInArchive, findInFolder, openLayout } from './layout.ts'
import { type LocalBytes, readLocal, wholeFile } from './local-bytes.ts'
import { parsePlatform } from './platform.ts'
import { parseReference, type Reference } from './reference.ts'
import { RegistrySource, type RegistrySourceOptions } from './registry/registry-source.ts'
import { cannotSpool, Spool } from './registry/spool.ts'
import { type ImageWish, resolveImage } from './resolve-image.ts'
import { TarMembers } from './tar-members.ts'

export interface OpenImageOptions extends RegistrySourceOptions {
  /** `linux/arm64`; what this machine is where nothing is said. */
  readonly platform: string | undefined
}

/**
 * Opens the image that `text` names, its layers fetched and checked against their digests. Throws FLIST_USAGE, FLIST_NOT_FOUND,
 * FLIST_FORMAT_UNKNOWN, FLIST_IMAGE_DAMAGED, FLIST_DIGEST_MISMATCH, FLIST_LIMIT, FLIST_STORE_*.
 */
export async function openImage(text: string, options: OpenImageOptions, signal: AbortSignal): Promise<Image> {
  const reference = parseReference(text)
  const wish = { name: text, platform: parsePlatform(options.platform), isPlatformSaid: options.platform !== undefined }
  switch (reference.transport) {
    case 'registry':
      return await fromRegistry(reference, wish, options, signal)
    case 'oci':
      return await openLayout(findInFolder(reference.path), reference.tag, wish, nothing, signal)
    case 'oci-archive':
    case 'docker-archive':
      return await fromArchive(reference, wish, options, signal)
    default:
      return await fromDaemon(reference, wish, options, signal)
  }
}

async function nothing(): Promise<void> {}

async function fromRegistry(
  { image }: Extract<Reference, { transport: 'registry' }>,
  wish: ImageWish,
  options: OpenImageOptions,
  signal: AbortSignal,
): Promise<Image> {
  const source = new RegistrySource(image, options)
  try {
    return await resolveImage(source, await source.top(signal), wish, signal)
  } catch (error) {
    await source.close(false)
    throw error
  }
}

async function fromArchive(
  { path, tag, transport }: Extract<Reference, { readonly path: string }>,
  wish: ImageWish,
  options: OpenImageOptions,
  signal: AbortSignal,
): Promise<Image> {
  const archive = await plainArchive(path, options, signal)
  try {
    const members = await TarMembers.read(archive.bytes, `archive "${path}"`, signal)
    return transport === 'oci-archive'
      ? await openLayout(findInArchive(path, members), tag, wish, archive.close, signal)
      : await openDockerArchive(members, tag, wish, archive.close, signal)
  } catch (error) {
    await archive.close()
    throw error
  }
}

interface PlainArchive {
  readonly bytes: LocalBytes
  readonly close: () => Promise<void>
}

/** Parts of an archive are read in place; one that is compressed as a whole is unpacked beside the layers first. */
async function plainArchive(path: string, options: OpenImageOptions, signal: AbortSignal): Promise<PlainArchive> {
  const bytes = await wholeFile(path, undefined, `archive "${path}"`)
  let start: Buffer = Buffer.alloc(0)
  for await (const piece of readLocal({ ...bytes, size: Math.min(bytes.size, 8) }, signal)) start = piece
  if (compressionOf(start) === 'none') return { bytes, close: nothing }
  const spool = await Spool.open(options.spoolFolder)
  try {
    const scratch = await spool.scratch()
    const bytesMax = Math.max(LIMITS.layerBytesFree, bytes.size * LIMITS.layerRatioMax)
    const source = Readable.from(unpacked(bytes, path, bytesMax, signal))
    await pipeline(source, createWriteStream(scratch), { signal }).catch((error: unknown) => {
      signal.throwIfAborted()
      throw error instanceof FlistError ? error : cannotSpool(scratch, error)
    })
    return { bytes: await wholeFile(scratch, undefined, `archive "${path}"`), close: () => spool.clear() }
  } catch (error) {
    await spool.clear()
    throw error
  }
}

async function* unpacked(
  bytes: LocalBytes,
  path: string,
  bytesMax: number,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const where = `archive "${path}"`
  let count = 0
  for await (const piece of decompressed(readLocal(bytes, signal), where)) {
    count += piece.length
    if (count > bytesMax) throw imageLimit(where, `its ${bytes.size} bytes unfold to more than ${bytesMax}`)
    yield piece
  }
}

async function fromDaemon(
  { image, transport }: { image: string; transport: 'docker-daemon' | 'podman' },
  wish: ImageWish,
  options: OpenImageOptions,
  signal: AbortSignal,
): Promise<Image> {
  const spool = await Spool.open(options.spoolFolder)
  try {
    const path = await spool.scratch()
    await saveFromDaemon(daemonSocket(transport), image, path, (bytes) => options.onBytes(bytes, 0), signal)
    const bytes = await wholeFile(path, undefined, `image "${image}"`)
    if (bytes.size === 0) throw new FlistError('FLIST_NOT_FOUND', `Cannot use "${image}": the daemon gave nothing`)
    const members = await TarMembers.read(bytes, `image "${image}"`, signal)
    return await openDockerArchive(members, undefined, wish, () => spool.clear(), signal)
  } catch (error) {
    await spool.clear()
    throw error
  }
}
