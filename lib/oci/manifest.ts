import { FlistError, LIMITS } from '../base/index.ts'
import { checkDigest, type Digest } from './digest.ts'
import { imageDamaged, imageLimit } from './image-error.ts'
import { type Platform, platformText } from './platform.ts'

/** OCI image-spec `media-types.md`; Docker "Image Manifest Version 2, Schema 2". */
export const MEDIA = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
} as const

export const MANIFEST_MEDIA: readonly string[] = [
  MEDIA.ociIndex,
  MEDIA.dockerIndex,
  MEDIA.ociManifest,
  MEDIA.dockerManifest,
]

const INDEXES: readonly string[] = [MEDIA.ociIndex, MEDIA.dockerIndex]
const MANIFESTS: readonly string[] = [MEDIA.ociManifest, MEDIA.dockerManifest]
const CONFIGS: readonly string[] = [MEDIA.ociConfig, 'application/vnd.docker.container.image.v1+json', '']
/** Compression is recognised by content: some programs name it wrongly. */
const LAYERS =
  /^application\/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:[.+](?:gzip|zstd))?|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.(?:gzip|zstd))?)$/

export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly platform: Partial<Platform> | undefined
  /** `org.opencontainers.image.ref.name` and others. */
  readonly annotations: Readonly<Record<string, string>>
}

export type Manifest =
  | { readonly kind: 'index'; readonly manifests: readonly Descriptor[] }
  | { readonly kind: 'image'; readonly config: Descriptor; readonly layers: readonly Descriptor[] }

/** `mediaType` is what the server or descriptor says; the document's own word wins. Throws FLIST_IMAGE_DAMAGED, FLIST_FORMAT_UNKNOWN. */
export function parseManifest(bytes: Buffer, mediaType: string, what: string): Manifest {
  const document = jsonObject(bytes, what)
  const said = typeof document['mediaType'] === 'string' ? document['mediaType'] : mediaType
  const isIndex = INDEXES.includes(said) || (!MANIFESTS.includes(said) && Array.isArray(document['manifests']))
  if (isIndex) return { kind: 'index', manifests: descriptors(document['manifests'], LIMITS.manifestsMax, what) }
  if (document['schemaVersion'] === 1 || said.startsWith('application/vnd.docker.distribution.manifest.v1')) {
    throw unknown(what, 'it is of the old format (schema 1), which names no digests of layers', 'Push the image again')
  }
  const config = descriptor(document['config'], `the configuration of ${what}`)
  const layers = descriptors(document['layers'], LIMITS.layersMax, what)
  checkMedia(config, layers, what)
  return { kind: 'image', config, layers }
}

function checkMedia(config: Descriptor, layers: readonly Descriptor[], what: string): void {
  const strange = layers.find(({ mediaType }) => !LAYERS.test(mediaType))
  if (strange?.mediaType.includes('encrypted') === true)
    throw unknown(what, 'its layers are encrypted', 'Decrypt it first')
  if (strange === undefined && CONFIGS.includes(config.mediaType)) return
  const type = strange?.mediaType ?? config.mediaType
  throw unknown(what, `it is no container image: it holds "${type}"`, 'Name the image itself')
}

function unknown(what: string, why: string, hint: string): FlistError {
  return new FlistError('FLIST_FORMAT_UNKNOWN', `Cannot use ${what}: ${why}`, { hint })
}

function descriptors(value: unknown, countMax: number, what: string): Descriptor[] {
  if (!Array.isArray(value)) throw imageDamaged(what, 'a list in its manifest is missing')
  if (value.length > countMax) throw imageLimit(what, `its manifest lists more than ${countMax}`)
  return value.map((item) => descriptor(item, what))
}

function descriptor(value: unknown, what: string): Descriptor {
  if (!isObject(value)) throw imageDamaged(what, 'its manifest is not what it should be')
  const { size, platform, annotations } = value
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw imageDamaged(what, 'a size in its manifest is none')
  }
  return {
    mediaType: typeof value['mediaType'] === 'string' ? value['mediaType'] : '',
    digest: checkDigest(value['digest'], what),
    size,
    platform: isObject(platform) ? texts(platform) : undefined,
    annotations: isObject(annotations) ? texts(annotations) : {},
  }
}

function texts(value: Record<string, unknown>): Record<string, string> {
  const found = Object.entries(value).filter((pair): pair is [string, string] => typeof pair[1] === 'string')
  return Object.fromEntries(found)
}

/** Throws FLIST_IMAGE_DAMAGED where it is no JSON object. */
export function jsonObject(bytes: Buffer, what: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw imageDamaged(what, 'it is no JSON', error)
  }
  if (!isObject(value)) throw imageDamaged(what, 'it is no JSON object')
  return value
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export interface ImageConfig {
  readonly diffIds: readonly Digest[]
  readonly platform: string
}

/** What we must know of a configuration. `layers` is how many the manifest has. */
export function parseConfig(bytes: Buffer, layers: number, what: string): ImageConfig {
  const document = jsonObject(bytes, what)
  const rootfs = document['rootfs']
  const diffIds = isObject(rootfs) ? rootfs['diff_ids'] : undefined
  if (!Array.isArray(diffIds)) throw imageDamaged(what, 'it does not say which layers the image has')
  if (diffIds.length !== layers) {
    throw imageDamaged(what, `it has ${diffIds.length} layers, the manifest has ${layers}`)
  }
  const { os, architecture, variant } = texts(document)
  return {
    diffIds: diffIds.map((diffId) => checkDigest(diffId, what)),
    platform: platformText({ os: os ?? '', architecture: architecture ?? '', variant: variant ?? '' }),
  }
}
