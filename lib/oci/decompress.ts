import { pipeline, Readable, type Transform } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { FlistError, systemCode } from '../base/index.ts'
import { imageDamaged } from './image-error.ts'
import { zstdFrames } from './zstd-frames.ts'

const CHUNK_BYTES = 256 * 1024

/** How a stream begins that is not a tar; others are named so that the message can. */
const MAGICS: readonly (readonly [name: Compression | 'xz' | 'bzip2' | 'lz4', bytes: readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lz4', [0x04, 0x22, 0x4d, 0x18]],
]

export type Compression = 'gzip' | 'zstd' | 'none'

/** What the first bytes say. A skippable frame of zstd may come first. */
export function compressionOf(start: Uint8Array): Compression | 'xz' | 'bzip2' | 'lz4' {
  for (const [name, bytes] of MAGICS) if (bytes.every((byte, at) => start[at] === byte)) return name
  const isSkippable = ((start[0] ?? 0) & 0xf0) === 0x50 && start[1] === 0x2a && start[2] === 0x4d && start[3] === 0x18
  return isSkippable ? 'zstd' : 'none'
}

/** The bytes of a layer or archive, unpacked: gzip (any number of members), zstd (any number of frames) or as they are. */
export async function* decompressed(
  source: AsyncIterable<Uint8Array>,
  where: string,
): AsyncGenerator<Buffer, void, undefined> {
  const pieces = source[Symbol.asyncIterator]()
  const head = await firstBytes(pieces)
  const whole = joined(head, pieces)
  const kind = compressionOf(head)
  if (kind === 'none') {
    yield* whole
  } else if (kind === 'gzip') {
    yield* through(whole, createGunzip({ chunkSize: CHUNK_BYTES }), where)
  } else if (kind === 'zstd') {
    yield* through(zstdFrames(whole, where), createZstdDecompress({ chunkSize: CHUNK_BYTES }), where)
  } else {
    await pieces.return?.()
    throw new FlistError('FLIST_FORMAT_UNKNOWN', `Cannot use ${where}: it is compressed with ${kind}`, {
      hint: 'Make the image again with gzip or zstd',
    })
  }
}

async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: Transform,
  where: string,
): AsyncGenerator<Buffer, void, undefined> {
  let failure: unknown
  const input = Readable.from(source, { objectMode: false })
  // The error of either side comes out of the loop below; the callback only keeps it from being nobody's.
  pipeline(input, transform, (error) => void (failure = error))
  try {
    yield* transform as AsyncIterable<Buffer>
  } catch (error) {
    const cause = failure ?? error
    if (cause instanceof FlistError) throw cause
    const code = systemCode(cause)
    if (code.startsWith('Z_') || code.startsWith('ZSTD_'))
      throw imageDamaged(where, 'its compressed data is damaged', cause)
    throw cause
  } finally {
    input.destroy()
    transform.destroy()
  }
}

async function firstBytes(pieces: AsyncIterator<Uint8Array>): Promise<Buffer> {
  let head: Buffer = Buffer.alloc(0)
  while (head.length < 8) {
    const next = await pieces.next()
    if (next.done === true) break
    head = head.length === 0 ? Buffer.from(next.value) : Buffer.concat([head, next.value])
  }
  return head
}

async function* joined(head: Buffer, pieces: AsyncIterator<Uint8Array>): AsyncGenerator<Buffer, void, undefined> {
  try {
    if (head.length > 0) yield head
    for (;;) {
      const next = await pieces.next()
      if (next.done === true) return
      const { buffer, byteOffset, byteLength } = next.value
      yield Buffer.from(buffer, byteOffset, byteLength)
    }
  } finally {
    await pieces.return?.()
  }
}
