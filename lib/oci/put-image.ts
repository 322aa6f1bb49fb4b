import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { createHash } from 'node:crypto'
import { FlistError, systemCode, systemReason } from '../base/index.ts'
import { type Digest, digestOf } from './digest.ts'
import { imageDamaged } from './image-error.ts'
import type { LocalBytes } from './local-bytes.ts'
import { isObject, jsonObject, MEDIA } from './manifest.ts'
import { parsePlatform } from './platform.ts'
import { putDockerArchive, putLayout, putLayoutArchive } from './put-layout.ts'
import { parseReference } from './reference.ts'
import type { RegistryOptions } from './registry/places.ts'
import { pushImage } from './registry/push.ts'
import { Spool } from './registry/spool.ts'

export interface PutImageOptions extends RegistryOptions {
  /** The tar of the one layer. */
  readonly tar: AsyncIterable<Buffer>
  /** A configuration to keep, but for its layers; undefined: a plain one. */
  readonly config: string | undefined
  /** Of an image without a configuration. */
  readonly platform: string | undefined
  /** Where the layer is put together. */
  readonly spoolFolder: string
  /** Bytes sent, of all. */
  readonly onBytes: (bytes: number, total: number) => void
}

/** All parts of an image with one layer. */
export interface ImageParts {
  readonly layer: LocalBytes
  readonly layerDigest: Digest
  readonly config: Buffer
  readonly configDigest: Digest
  readonly manifest: Buffer
  readonly manifestDigest: Digest
}

export interface PutImage {
  /** Of the manifest. */
  readonly imageDigest: Digest
  readonly layerBytes: number
}

/** The same level each time: the digest of a layer is that of its compressed bytes. */
const GZIP_LEVEL = 6

/** Throws FLIST_USAGE for what no image can be written to. */
export function checkDestination(text: string): void {
  const reference = parseReference(text)
  const no = (why: string, hint: string): FlistError =>
    new FlistError('FLIST_USAGE', `Cannot write an image to "${text}": ${why}`, { hint })
  if (reference.transport === 'docker-daemon' || reference.transport === 'podman') {
    throw no('a daemon takes archives only', 'Write docker-archive:FILE and have the daemon load it')
  }
  const isDigest =
    reference.transport === 'registry'
      ? reference.image.digest !== undefined
      : 'tag' in reference && reference.tag?.startsWith('@') === true
  if (isDigest) throw no('its digest comes of its content', 'Name a tag instead')
}

/** Makes an image of one layer and puts it where `text` says: same tar and configuration, same digests. */
export async function putImage(text: string, options: PutImageOptions, signal: AbortSignal): Promise<PutImage> {
  checkDestination(text)
  const reference = parseReference(text)
  const spool = await Spool.open(options.spoolFolder)
  try {
    const parts = await makeParts(await spool.scratch(), options, signal)
    if (reference.transport === 'registry') await pushImage(reference.image, parts, options, signal)
    else if (reference.transport === 'oci') await putLayout(reference.path, reference.tag, parts, signal)
    else if (reference.transport === 'oci-archive') await putLayoutArchive(reference.path, reference.tag, parts, signal)
    else if (reference.transport === 'docker-archive')
      await putDockerArchive(reference.path, reference.tag, parts, signal)
    return { imageDigest: parts.manifestDigest, layerBytes: parts.layer.size }
  } catch (error) {
    // The pipeline may have packed it into an error of its own.
    signal.throwIfAborted()
    if (error instanceof FlistError || systemCode(error) === '') throw error
    throw new FlistError('FLIST_SYSTEM', `Cannot write the image "${text}": ${systemReason(error)}`, {
      hint: 'Name a place that you may write, with room on its disk',
      cause: error,
    })
  } finally {
    await spool.clear()
  }
}

async function makeParts(path: string, options: PutImageOptions, signal: AbortSignal): Promise<ImageParts> {
  const [plain, packed] = [createHash('sha256'), createHash('sha256')]
  let size = 0
  await pipeline(
    options.tar,
    async function* (source: AsyncIterable<Buffer>) {
      for await (const piece of source) {
        plain.update(piece)
        yield piece
      }
    },
    createGzip({ level: GZIP_LEVEL }),
    async function* (source: AsyncIterable<Buffer>) {
      for await (const piece of source) {
        packed.update(piece)
        size += piece.length
        yield piece
      }
    },
    createWriteStream(path),
    { signal },
  )
  const layerDigest: Digest = `sha256:${packed.digest('hex')}`
  const config = configOf(options, `sha256:${plain.digest('hex')}`)
  const configDigest = digestOf(config)
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MEDIA.ociManifest,
      config: { mediaType: MEDIA.ociConfig, digest: configDigest, size: config.length },
      layers: [{ mediaType: MEDIA.ociLayerGzip, digest: layerDigest, size }],
    }),
  )
  const layer = { path, offset: 0, size }
  return { layer, layerDigest, config, configDigest, manifest, manifestDigest: digestOf(manifest) }
}

/** What is kept stands where it stood; layers and their history are those of this image. */
function configOf({ config, platform }: PutImageOptions, diffId: Digest): Buffer {
  const kept = config === undefined ? {} : jsonObject(Buffer.from(config), 'the configuration in the archive')
  const { os, architecture, variant } = parsePlatform(platform)
  const own = config === undefined ? { architecture, os, ...(variant === '' ? {} : { variant }), config: {} } : {}
  const { created } = kept
  if (kept['config'] !== undefined && kept['config'] !== null && !isObject(kept['config'])) {
    throw imageDamaged('the configuration in the archive', 'it is not what it should be')
  }
  const history = [{ ...(typeof created === 'string' ? { created } : {}), created_by: 'flistfs export' }]
  return Buffer.from(JSON.stringify({ ...own, ...kept, rootfs: { type: 'layers', diff_ids: [diffId] }, history }))
}
