import { join } from 'node:path'
import { FlistError, LIMITS } from '../base/index.ts'
import { isDigest, type Digest, digestOf } from './digest.ts'
import type { Image } from './image.ts'
import { imageDamaged, imageLimit } from './image-error.ts'
import { localBuffer, type LocalBytes, readLocal, verifyLocal, wholeFile } from './local-bytes.ts'
import { type Descriptor, MANIFEST_MEDIA, MEDIA, parseManifest } from './manifest.ts'
import { type ImageSource, type ImageWish, resolveImage } from './resolve-image.ts'
import type { TarMembers } from './tar-members.ts'

const REF_NAME = 'org.opencontainers.image.ref.name'
/** containerd and docker write the whole name there. */
const IMAGE_NAME = 'io.containerd.image.name'

/** Finds a file of an OCI layout (OCI image-spec `image-layout.md`). `size` as the descriptor has it. */
export type FindPart = (name: string, size: number | undefined, what: string) => Promise<LocalBytes>

export function findInFolder(folder: string): FindPart {
  return (name, size, what) => wholeFile(join(folder, name), size, what)
}

export function findInArchive(path: string, members: TarMembers): FindPart {
  return (name, size, what) => {
    const found = members.find(name)
    if (found === undefined) return Promise.reject(imageDamaged(`archive "${path}"`, `"${name}" is not in it`))
    if (size !== undefined && size !== found.size)
      return Promise.reject(imageDamaged(what, 'its size is not that of its descriptor'))
    return Promise.resolve(found)
  }
}

/** `tag` is a tag, a whole name or a digest; without one the layout must have one image only. */
export async function openLayout(
  find: FindPart,
  tag: string | undefined,
  wish: ImageWish,
  close: () => Promise<void>,
  signal: AbortSignal,
): Promise<Image> {
  const what = `the index of "${wish.name}"`
  const bytes = await smallFile(await find('index.json', undefined, what), what, signal)
  const index = parseManifest(bytes, MEDIA.ociIndex, what)
  if (index.kind !== 'index') throw imageDamaged(what, 'it is no index')
  const source = layoutSource(find, close)
  const usable = index.manifests.filter(({ mediaType }) => mediaType === '' || MANIFEST_MEDIA.includes(mediaType))
  const chosen = chooseTag(usable, tag, wish)
  if (chosen === undefined)
    return await resolveImage(source, { bytes, mediaType: MEDIA.ociIndex, digest: digestOf(bytes) }, wish, signal)
  const top = { bytes: await source.manifest(chosen, signal), mediaType: chosen.mediaType, digest: chosen.digest }
  return await resolveImage(source, top, wish, signal)
}

/** Undefined: the index itself is the image's, for several platforms. */
function chooseTag(manifests: readonly Descriptor[], tag: string | undefined, wish: ImageWish): Descriptor | undefined {
  if (tag !== undefined) {
    const found = manifests.find((manifest) => namesOf(manifest).includes(tag))
    if (found !== undefined) return found
    throw notThere(wish, manifests, `it has no "${tag}"`)
  }
  const names = new Set(manifests.map(({ annotations }) => annotations[REF_NAME] ?? ''))
  if (manifests.length === 1) return manifests[0]
  if (manifests.length > 1 && names.size === 1 && manifests.every(({ platform }) => platform !== undefined))
    return undefined
  throw notThere(wish, manifests, `it has ${manifests.length} images`)
}

function namesOf({ annotations, digest }: Descriptor): string[] {
  const named = [annotations[REF_NAME], annotations[IMAGE_NAME]].filter((name) => name !== undefined)
  return [...named, digest, `@${digest}`]
}

function notThere(wish: ImageWish, manifests: readonly Descriptor[], why: string): FlistError {
  const tags = manifests.map(({ annotations, digest }) => annotations[REF_NAME] ?? digest)
  return new FlistError('FLIST_NOT_FOUND', `Cannot use "${wish.name}": ${why}`, {
    hint:
      tags.length === 0
        ? 'Look what is in its index.json'
        : `Name one of its tags behind a colon: ${tags.slice(0, 10).join(', ')}`,
  })
}

/** Of unknown digest: its length alone is checked. */
export async function smallFile(bytes: LocalBytes, what: string, signal: AbortSignal): Promise<Buffer> {
  if (bytes.size > LIMITS.manifestBytesMax) throw imageLimit(what, `it has more than ${LIMITS.manifestBytesMax} bytes`)
  const pieces: Buffer[] = []
  for await (const piece of readLocal(bytes, signal)) pieces.push(piece)
  return Buffer.concat(pieces)
}

function layoutSource(find: FindPart, close: () => Promise<void>): ImageSource {
  const part = async (descriptor: Descriptor, what: string): Promise<LocalBytes> => {
    return await find(blobName(descriptor.digest), descriptor.size, what)
  }
  const small = async (descriptor: Descriptor, what: string, signal: AbortSignal): Promise<Buffer> => {
    if (descriptor.size > LIMITS.manifestBytesMax)
      throw imageLimit(what, `it has more than ${LIMITS.manifestBytesMax} bytes`)
    return await localBuffer(await part(descriptor, what), descriptor.digest, what, signal)
  }
  return {
    manifest: (descriptor, signal) => small(descriptor, `manifest ${descriptor.digest}`, signal),
    blob: small,
    layers: async (descriptors, names, signal) => {
      const openers = []
      for (const [index, descriptor] of descriptors.entries()) {
        const what = names[index] ?? 'a layer'
        const bytes = await part(descriptor, what)
        await verifyLocal(bytes, descriptor.digest, what, signal)
        openers.push((reading: AbortSignal) => readLocal(bytes, reading))
      }
      return openers
    },
    close,
  }
}

export function blobName(digest: Digest): string {
  const [algorithm = '', hex = ''] = digest.split(':')
  return `blobs/${algorithm}/${hex}`
}

/** For words behind a path: what may be a tag there. */
export function isTagOrDigest(text: string): boolean {
  return isDigest(text.replace(/^@/, '')) || /^[A-Za-z0-9_][A-Za-z0-9._\-/:]{0,254}$/.test(text)
}
