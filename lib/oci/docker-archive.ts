import { FlistError, LIMITS } from '../base/index.ts'
import { digestOf } from './digest.ts'
import type { Image } from './image.ts'
import { imageDamaged, imageLimit } from './image-error.ts'
import type { ImageLayer } from './layer.ts'
import { smallFile } from './layout.ts'
import { readLocal } from './local-bytes.ts'
import { isObject, parseConfig } from './manifest.ts'
import type { ImageWish } from './resolve-image.ts'
import type { TarMembers } from './tar-members.ts'

interface DockerImage {
  readonly config: string
  readonly tags: readonly string[]
  readonly layers: readonly string[]
}

/** What `docker save` writes: `manifest.json` names the configuration and the layers of each image. `tag` is a whole name or a tag. */
export async function openDockerArchive(
  members: TarMembers,
  tag: string | undefined,
  wish: ImageWish,
  close: () => Promise<void>,
  signal: AbortSignal,
): Promise<Image> {
  const what = `image "${wish.name}"`
  const manifest = members.find('manifest.json')
  if (manifest === undefined) throw imageDamaged(what, 'its archive has no manifest.json')
  const images = parseImages(await smallFile(manifest, what, signal), what)
  const chosen = choose(images, tag, wish)
  const configBytes = members.find(chosen.config)
  if (configBytes === undefined) throw imageDamaged(what, 'its configuration is not in the archive')
  const config = await smallFile(configBytes, `the configuration of ${what}`, signal)
  const { diffIds, platform } = parseConfig(config, chosen.layers.length, `the configuration of ${what}`)
  const layers = chosen.layers.map((name, index): ImageLayer => {
    const where = `layer ${index + 1} of ${what}`
    const [bytes, diffId] = [members.find(name), diffIds[index]]
    if (bytes === undefined || diffId === undefined) throw imageDamaged(where, 'it is not in the archive')
    return { where, size: bytes.size, diffId, open: (reading) => readLocal(bytes, reading) }
  })
  return { name: wish.name, digest: digestOf(config), config, platform, layers, close }
}

function parseImages(bytes: Buffer, what: string): DockerImage[] {
  let list: unknown
  try {
    list = JSON.parse(bytes.toString('utf8'))
  } catch (error) {
    throw imageDamaged(what, 'manifest.json is no JSON', error)
  }
  if (!Array.isArray(list)) throw imageDamaged(what, 'manifest.json is no list')
  return list.map((item: unknown) => {
    const [config, layers, tags] = isObject(item) ? [item['Config'], item['Layers'], item['RepoTags'] ?? []] : []
    if (typeof config !== 'string' || !areTexts(layers) || !areTexts(tags)) {
      throw imageDamaged(what, 'manifest.json is not what it should be')
    }
    if (layers.length > LIMITS.layersMax) throw imageLimit(what, `it has more than ${LIMITS.layersMax} layers`)
    return { config, layers, tags }
  })
}

function areTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function choose(images: readonly DockerImage[], tag: string | undefined, wish: ImageWish): DockerImage {
  const only = images.length === 1 ? images[0] : undefined
  const found = tag === undefined ? only : images.find(({ tags }) => tags.some((name) => isNamed(name, tag)))
  if (found !== undefined) return found
  const names = images.flatMap(({ tags }) => tags)
  const why = tag === undefined ? `it has ${images.length} images` : `it has no "${tag}"`
  throw new FlistError('FLIST_NOT_FOUND', `Cannot use "${wish.name}": ${why}`, {
    hint:
      names.length === 0
        ? 'Save the image again, by its name'
        : `Name one of its images behind a colon: ${names.slice(0, 10).join(', ')}`,
  })
}

/** `debian:12`, and the same with the registry that docker leaves out. */
function isNamed(name: string, wanted: string): boolean {
  const ends = [wanted, `${wanted}:latest`]
  return ends.some((end) => name === end || name === `docker.io/${end}` || name === `docker.io/library/${end}`)
}
