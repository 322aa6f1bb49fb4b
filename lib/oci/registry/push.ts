import { Readable } from 'node:stream'
import { FlistError, LIMITS } from '../../base/index.ts'
import type { Digest } from '../digest.ts'
import { readLocal } from '../local-bytes.ts'
import { MEDIA } from '../manifest.ts'
import type { ImageParts } from '../put-image.ts'
import type { RegistryName } from '../reference.ts'
import { Endpoint } from './endpoint.ts'
import { placesOf, type RegistryOptions } from './places.ts'
import { mayPass, registryError } from './registry-errors.ts'
import { header, Transport } from './transport.ts'

export interface PushOptions extends RegistryOptions {
  readonly onBytes: (bytes: number, total: number) => void
}

/** Puts an image to its registry, never to a mirror: what is there is not sent again; the manifest goes last. */
export async function pushImage(
  image: RegistryName,
  parts: ImageParts,
  options: PushOptions,
  signal: AbortSignal,
): Promise<void> {
  const transport = new Transport()
  try {
    const [place] = placesOf(image, { ...options, mirrors: [] })
    if (place === undefined) throw new RangeError('A registry has no place')
    const endpoint = new Endpoint(transport, place, 'pull,push')
    await putBlob(endpoint, parts.layerDigest, parts.layer.size, parts.layer.path, options, signal)
    await putBlob(endpoint, parts.configDigest, parts.config.length, parts.config, options, signal)
    const answer = await endpoint.ask(
      {
        method: 'PUT',
        target: `manifests/${image.tag ?? 'latest'}`,
        headers: { 'content-type': MEDIA.ociManifest },
        body: parts.manifest,
      },
      signal,
    )
    answer.drop()
  } finally {
    await transport.close()
  }
}

async function putBlob(
  endpoint: Endpoint,
  digest: Digest,
  size: number,
  source: string | Buffer,
  { onBytes }: PushOptions,
  signal: AbortSignal,
): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    const known = await endpoint.ask({ method: 'HEAD', target: `blobs/${digest}`, headers: {}, accept: [404] }, signal)
    known.drop()
    if (known.status !== 404) return
    try {
      return await sendBlob(endpoint, digest, size, source, onBytes, signal)
    } catch (error) {
      if (!(error instanceof FlistError) || !mayPass(error) || tries >= LIMITS.registryTries) throw error
      await endpoint.pause(error, tries, signal)
    }
  }
}

/** An upload in one piece (distribution-spec, "Pushing a blob monolithically": POST, then PUT). */
async function sendBlob(
  endpoint: Endpoint,
  digest: Digest,
  size: number,
  source: string | Buffer,
  onBytes: (bytes: number, total: number) => void,
  signal: AbortSignal,
): Promise<void> {
  const begun = await endpoint.ask(
    { method: 'POST', target: 'blobs/uploads/', headers: { 'content-length': '0' } },
    signal,
  )
  begun.drop()
  const target = URL.parse(header(begun.headers, 'location'), endpoint.base.href)
  if (target === null || target.protocol !== endpoint.base.protocol) {
    throw registryError('FLIST_STORE_PROTOCOL', endpoint.place.registry, 'it does not say where a layer is to be sent')
  }
  target.searchParams.append('digest', digest)
  const headers = { 'content-type': 'application/octet-stream', 'content-length': String(size) }
  const body = Buffer.isBuffer(source)
    ? source
    : Readable.from(counted(source, size, onBytes, signal), { objectMode: false })
  const answer = await endpoint.ask({ method: 'PUT', target, headers, body }, signal)
  answer.drop()
}

async function* counted(
  path: string,
  size: number,
  onBytes: (bytes: number, total: number) => void,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  let bytes = 0
  for await (const piece of readLocal({ path, offset: 0, size }, signal)) {
    yield piece
    onBytes((bytes += piece.length), size)
  }
}
