import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Test } from 'tap'
import { type Blob, type ImageSpec, putImage, sha256 } from './make-image.ts'

export interface Seen {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly range: string | undefined
}

/** A registry in this process whose answers a test bends. */
export interface OddRegistry {
  readonly host: string
  readonly seen: Seen[]
  readonly blobs: Map<string, { bytes: Buffer; mediaType: string }>
  readonly manifest: Blob
  /** True: it has answered. */
  bend: (request: IncomingMessage, response: ServerResponse) => boolean
}

export async function listen(
  t: Test,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  address = '::1',
): Promise<string> {
  const server: Server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, address, resolve))
  t.teardown(() => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** Serves `app:v1` by the distribution's rules, ranges too. */
export async function startOdd(t: Test, spec: ImageSpec, address?: string): Promise<OddRegistry> {
  const blobs = new Map<string, { bytes: Buffer; mediaType: string }>()
  const manifest = putImage(spec, (bytes, mediaType) => {
    const digest = sha256(bytes)
    blobs.set(digest, { bytes, mediaType })
    return { mediaType, digest, size: bytes.length }
  })
  const seen: Seen[] = []
  const registry = { seen, blobs, manifest, bend: () => false } as unknown as OddRegistry
  const host = await listen(
    t,
    (request, response) => {
      const { method = '', url = '', headers } = request
      seen.push({ method, url, authorization: headers.authorization, range: headers.range })
      if (!registry.bend(request, response)) serve(registry, request, response)
    },
    address,
  )
  return Object.assign(registry, { host })
}

export function serve(registry: OddRegistry, { url = '', headers }: IncomingMessage, response: ServerResponse): void {
  const name = /\/(?:manifests|blobs)\/([^/?]+)/.exec(url)?.[1] ?? ''
  const blob = registry.blobs.get(name === 'v1' ? registry.manifest.digest : name)
  if (blob === undefined) return void response.writeHead(404).end('{}')
  const from = Number(/^bytes=(\d+)-/.exec(headers.range ?? '')?.[1] ?? 0)
  const size = blob.bytes.length
  const more = from > 0 ? { 'content-range': `bytes ${from}-${size - 1}/${size}` } : {}
  response.writeHead(from > 0 ? 206 : 200, { 'content-type': blob.mediaType, 'content-length': size - from, ...more })
  response.end(blob.bytes.subarray(from))
}
