import { constants, createWriteStream, writeFileSync } from 'node:fs'
import { copyFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { makeFolder, systemCode } from '../base/index.ts'
import { TemporaryFile } from '../system/index.ts'
import { blobName } from './layout.ts'
import { readLocal } from './local-bytes.ts'
import { isObject, jsonObject, MEDIA } from './manifest.ts'
import type { ImageParts } from './put-image.ts'
import { TAR_END, tarHeader, tarPadding } from './tar/tar-writer.ts'

const LAYOUT = Buffer.from('{"imageLayoutVersion":"1.0.0"}')
const REF_NAME = 'org.opencontainers.image.ref.name'

/** Adds an image to an OCI layout, which is made where it is not there; a tag goes over to the new image. */
export async function putLayout(
  folder: string,
  tag: string | undefined,
  parts: ImageParts,
  signal: AbortSignal,
): Promise<void> {
  makeFolder(join(folder, 'blobs/sha256'))
  const layer = join(folder, blobName(parts.layerDigest))
  await publish(layer, (temporary) => copyFile(parts.layer.path, temporary.path, constants.COPYFILE_FICLONE))
  signal.throwIfAborted()
  await publishBytes(join(folder, blobName(parts.configDigest)), parts.config)
  await publishBytes(join(folder, blobName(parts.manifestDigest)), parts.manifest)
  await publishBytes(join(folder, 'oci-layout'), LAYOUT)
  const others = (await manifestsIn(join(folder, 'index.json'))).filter((other) => !isReplaced(other, tag, parts))
  const index = indexOf([...others, descriptor(tag, parts)])
  await publishBytes(join(folder, 'index.json'), index)
}

/** The same in a tar. */
export async function putLayoutArchive(
  path: string,
  tag: string | undefined,
  parts: ImageParts,
  signal: AbortSignal,
): Promise<void> {
  const members: Member[] = [
    ['blobs/', undefined],
    ['blobs/sha256/', undefined],
    ...([
      [blobName(parts.layerDigest), parts.layer],
      [blobName(parts.configDigest), parts.config],
      [blobName(parts.manifestDigest), parts.manifest],
    ] satisfies Member[]),
    ['index.json', indexOf([descriptor(tag, parts)])],
    ['oci-layout', LAYOUT],
  ]
  await publishTar(path, members, signal)
}

/** What `docker load` takes. `name` is what the image will be called there. */
export async function putDockerArchive(
  path: string,
  name: string | undefined,
  parts: ImageParts,
  signal: AbortSignal,
): Promise<void> {
  const [config, layer] = [parts.configDigest, parts.layerDigest].map((digest) => digest.replace('sha256:', ''))
  const tagged = name === undefined ? null : [/:[^/]*$/.test(name) ? name : `${name}:latest`]
  const manifest = [{ Config: `${config}.json`, RepoTags: tagged, Layers: [`${layer}.tar.gz`] }]
  const members: Member[] = [
    [`${layer}.tar.gz`, parts.layer],
    [`${config}.json`, parts.config],
    ['manifest.json', Buffer.from(JSON.stringify(manifest))],
  ]
  await publishTar(path, members, signal)
}

/** A folder where there is nothing. */
type Member = readonly [name: string, bytes: Buffer | ImageParts['layer'] | undefined]

async function* tarOf(members: readonly Member[], signal: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  const none = Buffer.alloc(0)
  for (const [name, bytes] of members) {
    const size = Buffer.isBuffer(bytes) ? bytes.length : (bytes?.size ?? 0)
    const type = bytes === undefined ? 'directory' : 'file'
    const mode = bytes === undefined ? 0o755 : 0o644
    const usual = {
      uid: 0,
      gid: 0,
      mtime: 0,
      mtimeNs: 0,
      target: none,
      major: 0,
      minor: 0,
      xattrs: [],
      sparse: undefined,
    }
    yield tarHeader({ ...usual, name: Buffer.from(name), type, mode, size })
    if (Buffer.isBuffer(bytes)) yield bytes
    else if (bytes !== undefined) yield* readLocal(bytes, signal)
    yield tarPadding(size)
  }
  yield TAR_END
}

function descriptor(tag: string | undefined, { manifest, manifestDigest }: ImageParts): Record<string, unknown> {
  const annotations = tag === undefined ? {} : { annotations: { [REF_NAME]: tag } }
  return { mediaType: MEDIA.ociManifest, digest: manifestDigest, size: manifest.length, ...annotations }
}

function indexOf(manifests: readonly unknown[]): Buffer {
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MEDIA.ociIndex, manifests }))
}

async function manifestsIn(path: string): Promise<Record<string, unknown>[]> {
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
  const manifests = jsonObject(bytes, `"${path}"`)['manifests']
  return Array.isArray(manifests) ? manifests.filter(isObject) : []
}

function isReplaced(other: Record<string, unknown>, tag: string | undefined, { manifestDigest }: ImageParts): boolean {
  const name = isObject(other['annotations']) ? other['annotations'][REF_NAME] : undefined
  return tag === undefined ? name === undefined && other['digest'] === manifestDigest : name === tag
}

/** Nothing has the name before it is whole and on the disk. */
async function publish(path: string, make: (temporary: TemporaryFile) => unknown): Promise<void> {
  using temporary = new TemporaryFile(path)
  await make(temporary)
  temporary.publish()
}

function publishBytes(path: string, bytes: Buffer): Promise<void> {
  return publish(path, ({ fd }) => writeFileSync(fd, bytes))
}

function publishTar(path: string, members: readonly Member[], signal: AbortSignal): Promise<void> {
  return publish(path, ({ path: temporary, fd }) =>
    pipeline(tarOf(members, signal), createWriteStream(temporary, { fd, autoClose: false }), { signal }),
  )
}
