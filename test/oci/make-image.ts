import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { checkDigest } from '../../lib/oci/digest.ts'
import type { ImageLayer } from '../../lib/oci/layer.ts'
import type { TarEntry } from '../../lib/oci/tar/tar-entry.ts'
import { TAR_END, tarHeader, tarPadding } from '../../lib/oci/tar/tar-writer.ts'

/** An entry as tests write it down: what is not said is usual. */
export interface Item extends Partial<Omit<TarEntry, 'name' | 'target' | 'xattrs' | 'size'>> {
  readonly name: string | Buffer
  readonly data?: string | Buffer
  readonly target?: string | Buffer
  readonly xattrs?: Readonly<Record<string, string | Buffer>>
}

/** One item, or blocks of a tar as they are. */
export type Part = Item | Buffer

export function bytesOf(text: string | Buffer): Buffer {
  return typeof text === 'string' ? Buffer.from(text, 'utf8') : text
}

export function entryOf(item: Item): TarEntry {
  const { name, data = '', target = '', xattrs = {}, ...rest } = item
  const type = rest.type ?? 'file'
  return {
    type,
    mode: type === 'directory' ? 0o755 : 0o644,
    uid: 0,
    gid: 0,
    mtime: 1_700_000_000,
    mtimeNs: 0,
    major: 0,
    minor: 0,
    sparse: undefined,
    ...rest,
    name: bytesOf(name),
    size: type === 'file' ? bytesOf(data).length : 0,
    target: bytesOf(target),
    xattrs: Object.entries(xattrs).map(([key, value]) => ({ name: Buffer.from(key), value: bytesOf(value) })),
  }
}

export function tarOf(parts: readonly Part[], end = TAR_END): Buffer {
  const pieces = parts.flatMap((part) => {
    if (Buffer.isBuffer(part)) return [part]
    const data = bytesOf(part.data ?? '')
    return [tarHeader(entryOf(part)), data, tarPadding(data.length)]
  })
  return Buffer.concat([...pieces, end])
}

export type Packing = 'gzip' | 'zstd' | 'none' | ((tar: Buffer) => Buffer)

export interface LayerSpec {
  readonly tar: Buffer
  readonly packing?: Packing
  /** Says something else than what it is. */
  readonly diffId?: string
  readonly mediaType?: string
}

export interface ImageSpec {
  readonly layers: readonly LayerSpec[]
  readonly config?: Record<string, unknown>
  readonly os?: string
  readonly architecture?: string
  readonly variant?: string
}

export function sha256(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

export interface Blob {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
}

function packed(tar: Buffer, packing: Packing): Buffer {
  if (packing === 'gzip') return gzipSync(tar, { level: 1 })
  if (packing === 'zstd') return zstdCompressSync(tar)
  return packing === 'none' ? tar : packing(tar)
}

const SUFFIX: Readonly<Record<string, string>> = { gzip: '+gzip', zstd: '+zstd', none: '' }

/** The blobs of one image; `put` keeps one and describes it. Gives the descriptor of its manifest. */
export function putImage(spec: ImageSpec, put: (bytes: Buffer, mediaType: string) => Blob): Blob {
  const layers = spec.layers.map(({ tar, packing = 'gzip', mediaType }) => {
    const suffix = typeof packing === 'string' ? SUFFIX[packing] : '+gzip'
    return put(packed(tar, packing), mediaType ?? `application/vnd.oci.image.layer.v1.tar${suffix}`)
  })
  const config = {
    created: '2026-01-02T03:04:05Z',
    architecture: spec.architecture ?? 'amd64',
    os: spec.os ?? 'linux',
    ...(spec.variant === undefined ? {} : { variant: spec.variant }),
    config: spec.config ?? {},
    rootfs: { type: 'layers', diff_ids: spec.layers.map(({ tar, diffId }) => diffId ?? sha256(tar)) },
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: put(Buffer.from(JSON.stringify(config)), 'application/vnd.oci.image.config.v1+json'),
    layers,
  }
  return put(Buffer.from(JSON.stringify(manifest)), manifest.mediaType)
}

/** An OCI layout with images by tag. */
export function writeLayout(folder: string, images: Readonly<Record<string, ImageSpec>>): void {
  mkdirSync(join(folder, 'blobs/sha256'), { recursive: true })
  const put = putInto(folder)
  const manifests = Object.entries(images).map(([tag, spec]) => ({
    ...putImage(spec, put),
    annotations: { 'org.opencontainers.image.ref.name': tag },
  }))
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  writeFileSync(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
}

export function putInto(folder: string): (bytes: Buffer, mediaType: string) => Blob {
  return (bytes, mediaType) => {
    const digest = sha256(bytes)
    writeFileSync(join(folder, 'blobs', digest.replace(':', '/')), bytes)
    return { mediaType, digest, size: bytes.length }
  }
}

/** A layer that lies in memory. */
export function memoryLayer(tar: Buffer, stored = tar, piece = 65_536): ImageLayer {
  return {
    where: 'layer 1 of "test"',
    size: stored.length,
    diffId: checkDigest(sha256(tar), 'test'),
    open: async function* () {
      for (let at = 0; at < stored.length; at += piece) yield stored.subarray(at, at + piece)
    },
  }
}
