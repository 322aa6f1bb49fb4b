import { FlistError, LIMITS } from '../base/index.ts'
import type { Digest } from './digest.ts'
import type { Image } from './image.ts'
import { imageDamaged, imageLimit } from './image-error.ts'
import type { ImageLayer } from './layer.ts'
import { type Descriptor, parseConfig, parseManifest } from './manifest.ts'
import { type Platform, platformText, suits } from './platform.ts'

/** Where an image's parts come from. All bytes given were checked against the descriptor. */
export interface ImageSource {
  /** A manifest or index. */
  manifest(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer>
  /** A small blob: the configuration. */
  blob(descriptor: Descriptor, what: string, signal: AbortSignal): Promise<Buffer>
  /** Brings the layers here; each can then be opened any number of times. */
  layers(
    descriptors: readonly Descriptor[],
    names: readonly string[],
    signal: AbortSignal,
  ): Promise<ImageLayer['open'][]>
  /** See `Image.close`. */
  close(done: boolean): Promise<void>
}

export interface ImageWish {
  readonly name: string
  readonly platform: Platform
  /** The user named the platform: then an image that says another is refused. */
  readonly isPlatformSaid: boolean
}

/** From a manifest or index to the image with its layers here. Where it fails the source is still the caller's. */
export async function resolveImage(
  source: ImageSource,
  top: { readonly bytes: Buffer; readonly mediaType: string; readonly digest: Digest },
  wish: ImageWish,
  signal: AbortSignal,
): Promise<Image> {
  const what = `image "${wish.name}"`
  let { digest } = top
  let manifest = parseManifest(top.bytes, top.mediaType, what)
  for (let depth = 0; manifest.kind === 'index'; depth += 1) {
    if (depth >= LIMITS.indexDepthMax) throw imageLimit(what, `its indexes lie more than ${LIMITS.indexDepthMax} deep`)
    const chosen = choose(manifest.manifests, wish)
    digest = chosen.digest
    manifest = parseManifest(await source.manifest(chosen, signal), chosen.mediaType, what)
  }
  checkSizes(manifest.config, manifest.layers, what)
  const config = await source.blob(manifest.config, `the configuration of ${what}`, signal)
  const { diffIds, platform } = parseConfig(config, manifest.layers.length, `the configuration of ${what}`)
  checkPlatform(platform, wish)
  const names = manifest.layers.map((_, index) => `layer ${index + 1} of ${what}`)
  const openers = await source.layers(manifest.layers, names, signal)
  const layers = manifest.layers.map(({ size }, index): ImageLayer => {
    const [open, diffId] = [openers[index], diffIds[index]]
    if (open === undefined || diffId === undefined) throw imageDamaged(what, 'a layer is missing')
    return { where: names[index] ?? what, size, diffId, open }
  })
  return { name: wish.name, digest, config, platform, layers, close: (done) => source.close(done) }
}

function checkSizes(config: Descriptor, layers: readonly Descriptor[], what: string): void {
  if (config.size > LIMITS.manifestBytesMax) {
    throw imageLimit(`the configuration of ${what}`, `it has more than ${LIMITS.manifestBytesMax} bytes`)
  }
  const bytes = layers.reduce((sum, { size }) => sum + size, 0)
  if (bytes > LIMITS.imageBytesMax) throw imageLimit(what, `its layers have more than ${LIMITS.imageBytesMax} bytes`)
}

/** The best of an index. Attestations say "unknown" and suit nobody; one that names no platform is taken where it is the only one. */
function choose(manifests: readonly Descriptor[], wish: ImageWish): Descriptor {
  let best: Descriptor | undefined
  let bestSuits = 0
  for (const descriptor of manifests) {
    const value = descriptor.platform === undefined ? 0 : suits(wish.platform, descriptor.platform)
    if (value > bestSuits) [best, bestSuits] = [descriptor, value]
  }
  const unnamed = manifests.filter(({ platform }) => platform === undefined)
  if (best === undefined && unnamed.length === 1 && manifests.length === 1) best = unnamed[0]
  if (best !== undefined) return best
  const there = manifests
    .map(({ platform }) => platformText(platform ?? {}))
    .filter((text) => text !== '' && !text.startsWith('unknown'))
  throw notFor(wish, [...new Set(there)].join(', ') || 'none that is named')
}

function checkPlatform(platform: string, wish: ImageWish): void {
  if (!wish.isPlatformSaid || platform === '') return
  const [os, architecture, variant] = platform.split('/')
  const offered = { os: os ?? '', architecture: architecture ?? '', variant: variant ?? wish.platform.variant }
  if (suits(wish.platform, offered) === 0) throw notFor(wish, platform)
}

function notFor(wish: ImageWish, there: string): FlistError {
  const message = `Cannot use image "${wish.name}": it is not there for ${platformText(wish.platform)}`
  return new FlistError('FLIST_NOT_FOUND', message, { hint: `Name one it is there for with --platform: ${there}` })
}
