import { describeError, FlistError, LIMITS } from '../../base/index.ts'
import { type Digest, digestMismatch, digestOf } from '../digest.ts'
import type { ImageLayer } from '../layer.ts'
import { readLocal } from '../local-bytes.ts'
import { type Descriptor, MANIFEST_MEDIA } from '../manifest.ts'
import type { RegistryName } from '../reference.ts'
import type { ImageSource } from '../resolve-image.ts'
import { Endpoint } from './endpoint.ts'
import { placesOf, type RegistryOptions } from './places.ts'
import { mayPass, MayPass, registryError } from './registry-errors.ts'
import { Spool, type SpoolFile } from './spool.ts'
import { header, type HttpAnswer, readBody, Transport } from './transport.ts'

export interface RegistrySourceOptions extends RegistryOptions {
  /** Where layers are put until they were read. */
  readonly spoolFolder: string
  readonly warn: (message: string) => void
  /** Bytes of layers that are here, of all. */
  readonly onBytes: (bytes: number, total: number) => void
}

/** A mirror is to be quick. */
const MIRROR_TRIES = 2

interface Top {
  readonly bytes: Buffer
  readonly mediaType: string
  readonly digest: Digest
}

/** An image at a registry or its mirrors. What comes is checked by digest, so a mirror that lies is only passed over. */
export class RegistrySource implements ImageSource {
  readonly #image: RegistryName
  readonly #options: RegistrySourceOptions
  readonly #transport = new Transport()
  readonly #endpoints: readonly Endpoint[]
  /** Mirrors that were of no use once are not asked again. */
  readonly #useless = new Set<Endpoint>()
  #spool: Spool | undefined

  constructor(image: RegistryName, options: RegistrySourceOptions) {
    this.#image = image
    this.#options = options
    const places = placesOf(image, options)
    this.#endpoints = places.map((place, index) => {
      return new Endpoint(this.#transport, place, 'pull', index < places.length - 1 ? MIRROR_TRIES : undefined)
    })
  }

  /** What the name stands for now. */
  async top(signal: AbortSignal): Promise<Top> {
    const { digest, tag = '' } = this.#image
    return await this.#anywhere((endpoint) => this.#fetchManifest(endpoint, digest ?? tag, digest, signal), signal)
  }

  async manifest(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    const { digest } = descriptor
    return (await this.#anywhere((endpoint) => this.#fetchManifest(endpoint, digest, digest, signal), signal)).bytes
  }

  async blob(descriptor: Descriptor, what: string, signal: AbortSignal): Promise<Buffer> {
    return await this.#anywhere(async (endpoint) => {
      const answer = await endpoint.ask({ method: 'GET', target: `blobs/${descriptor.digest}`, headers: PLAIN }, signal)
      const bytes = await readBody(answer, LIMITS.manifestBytesMax, endpoint.place.registry)
      if (digestOf(bytes, descriptor.digest) !== descriptor.digest) throw digestMismatch(what)
      return bytes
    }, signal)
  }

  async layers(
    descriptors: readonly Descriptor[],
    names: readonly string[],
    signal: AbortSignal,
  ): Promise<ImageLayer['open'][]> {
    this.#spool ??= await Spool.open(this.#options.spoolFolder)
    const total = descriptors.reduce((sum, { size }) => sum + size, 0)
    await this.#spool.expect(total)
    const stop = new AbortController()
    const both = AbortSignal.any([signal, stop.signal])
    const paths = new Map<Digest, Promise<string>>()
    const here = new Map<Digest, number>()
    const onBytes = (digest: Digest, bytes: number): void => {
      here.set(digest, bytes)
      this.#options.onBytes(
        [...here.values()].reduce((sum, value) => sum + value, 0),
        total,
      )
    }
    const queue = [...descriptors.entries()]
    const worker = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const [index, descriptor] = next
        if (paths.has(descriptor.digest)) continue
        const path = this.#fetchLayer(
          descriptor,
          names[index] ?? 'a layer',
          (bytes) => onBytes(descriptor.digest, bytes),
          both,
        )
        paths.set(descriptor.digest, path)
        await path
      }
    }
    const workers = Array.from({ length: LIMITS.layersAtOnce }, () =>
      worker().catch((error: unknown) => {
        stop.abort(error)
        throw error
      }),
    )
    const settled = await Promise.allSettled(workers)
    signal.throwIfAborted()
    if (stop.signal.aborted) throw stop.signal.reason
    for (const one of settled) if (one.status === 'rejected') throw one.reason
    return await Promise.all(
      descriptors.map(async ({ digest, size }) => {
        const path = await paths.get(digest)
        return (reading: AbortSignal) => readLocal({ path: path ?? '', offset: 0, size }, reading)
      }),
    )
  }

  async close(done: boolean): Promise<void> {
    if (done) await this.#spool?.clear()
    else this.#spool?.leave()
    await this.#transport.close()
  }

  /** Asks one place after another; says why of the last one, which is the registry itself. */
  async #anywhere<T>(ask: (endpoint: Endpoint) => Promise<T>, signal: AbortSignal): Promise<T> {
    for (const [index, endpoint] of this.#endpoints.entries()) {
      if (this.#useless.has(endpoint)) continue
      try {
        return await ask(endpoint)
      } catch (error) {
        if (signal.aborted || index === this.#endpoints.length - 1 || !(error instanceof FlistError)) throw error
        if (this.#useless.has(endpoint)) continue
        this.#useless.add(endpoint)
        this.#options.warn(`Mirror "${endpoint.place.host}" was of no use: ${describeError(error)}`)
      }
    }
    throw new RangeError('A registry has no place')
  }

  async #fetchManifest(
    endpoint: Endpoint,
    target: string,
    digest: Digest | undefined,
    signal: AbortSignal,
  ): Promise<Top> {
    const headers = { ...PLAIN, accept: MANIFEST_MEDIA.join(', ') }
    const answer = await endpoint.ask({ method: 'GET', target: `manifests/${target}`, headers }, signal)
    const bytes = await readBody(answer, LIMITS.manifestBytesMax, endpoint.place.registry)
    const found = digestOf(bytes, digest)
    if (digest !== undefined && found !== digest) throw digestMismatch(`manifest ${digest}`)
    return { bytes, mediaType: header(answer.headers, 'content-type').split(';')[0]?.trim() ?? '', digest: found }
  }

  async #fetchLayer(
    descriptor: Descriptor,
    what: string,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<string> {
    const file = await this.#spool?.file(descriptor.digest)
    if (file === undefined) throw new RangeError('The spool is not open')
    try {
      await file.begin(descriptor.size, signal)
      await this.#anywhere((endpoint) => this.#fill(endpoint, file, descriptor, what, onBytes, signal), signal)
    } finally {
      await file.close()
    }
    return file.path
  }

  /** Goes on where a connection broke. A layer whose bytes are wrong is fetched once more from its beginning. */
  async #fill(
    endpoint: Endpoint,
    file: SpoolFile,
    descriptor: Descriptor,
    what: string,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    let tries = 0
    // Progress is what was never here before: a server that gives and takes back would keep us for ever.
    let most = file.size
    for (let wrong = 0; ;) {
      try {
        if (file.size < descriptor.size) await this.#fetchRest(endpoint, file, descriptor, what, onBytes, signal)
        if (file.isRight()) return onBytes(file.size)
        await file.restart()
        wrong += 1
        if (wrong > 1) throw digestMismatch(what)
      } catch (error) {
        if (!mayPass(error)) throw error
        tries = file.size > most ? 1 : tries + 1
        most = Math.max(most, file.size)
        if (tries >= LIMITS.registryTries) throw error
        await endpoint.pause(error, tries, signal)
      }
    }
  }

  async #fetchRest(
    endpoint: Endpoint,
    file: SpoolFile,
    { digest, size }: Descriptor,
    what: string,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const headers = file.size === 0 ? PLAIN : { ...PLAIN, range: `bytes=${file.size}-${size - 1}` }
    const answer = await endpoint.ask({ method: 'GET', target: `blobs/${digest}`, headers, accept: [416] }, signal)
    if (answer.status === 416) {
      answer.drop()
      await file.restart()
      throw passing(endpoint, 'it does not give parts of a layer')
    }
    if (!isRest(answer, file.size)) await file.restart()
    for await (const piece of answer.body) {
      if (file.size + piece.length > size) {
        answer.drop()
        throw digestMismatch(what)
      }
      await file.append(piece)
      onBytes(file.size)
    }
    if (file.size < size) throw passing(endpoint, 'a layer ended early')
  }
}

/** Nobody between may compress what has a digest. */
const PLAIN = { 'accept-encoding': 'identity' }

/** True where the answer goes on from there, and is not the whole. */
function isRest(answer: HttpAnswer, from: number): boolean {
  return answer.status === 206 && header(answer.headers, 'content-range').startsWith(`bytes ${from}-`)
}

function passing(endpoint: Endpoint, why: string): FlistError {
  return registryError('FLIST_STORE_UNREACHABLE', endpoint.place.registry, why, undefined, new MayPass(why))
}
