import { imageDamaged } from './image-error.ts'
import { ByteReader } from './tar/byte-reader.ts'

/** RFC 8878 section 3. */
const FRAME_MAGIC = 0xfd2fb528
const SKIPPABLE_MAGIC = 0x184d2a50
const SKIPPABLE_MASK = 0xfffffff0
const BLOCK_TYPE_RLE = 1
const CHECKSUM_BYTES = 4
/** Bytes of the field by the descriptor's two bits; the content size's first is 1 where the frame is a single segment. */
const DICTIONARY_BYTES = [0, 1, 2, 4] as const
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const

/**
 * The frames of a zstd stream in pieces that never reach over a frame's end, skippable ones left out. Node's decompressor drops what
 * follows a frame in the same piece (Node 24); layers of `zstd:chunked` and `pzstd` have thousands of frames.
 */
export async function* zstdFrames(
  source: AsyncIterable<Uint8Array>,
  where: string,
): AsyncGenerator<Buffer, void, undefined> {
  const bytes = new ByteReader(source)
  try {
    for (;;) {
      const magic = await bytes.read(4)
      if (magic.length === 0) return
      const number = magic.length === 4 ? magic.readUInt32LE() : 0
      if ((number & SKIPPABLE_MASK) >>> 0 === SKIPPABLE_MAGIC) {
        const size = (await exactly(bytes, 4, where)).readUInt32LE()
        if ((await bytes.skip(size)) < size) throw torn(where)
      } else if (number === FRAME_MAGIC) {
        yield magic
        yield* frame(bytes, where)
      } else {
        throw imageDamaged(where, 'something else follows a frame of its zstd stream')
      }
    }
  } finally {
    await bytes.close()
  }
}

async function* frame(bytes: ByteReader, where: string): AsyncGenerator<Buffer, void, undefined> {
  const first = await exactly(bytes, 1, where)
  const descriptor = first[0] ?? 0
  const isSingleSegment = (descriptor & 0x20) !== 0
  const sizeBytes = CONTENT_SIZE_BYTES[(descriptor >> 6) as 0 | 1 | 2 | 3] || (isSingleSegment ? 1 : 0)
  const fieldBytes = (isSingleSegment ? 0 : 1) + DICTIONARY_BYTES[(descriptor & 3) as 0 | 1 | 2 | 3] + sizeBytes
  yield Buffer.concat([first, await exactly(bytes, fieldBytes, where)])
  for (let isLast = false; !isLast;) {
    const header = await exactly(bytes, 3, where)
    const fields = header.readUIntLE(0, 3)
    isLast = (fields & 1) !== 0
    const size = ((fields >> 1) & 3) === BLOCK_TYPE_RLE ? 1 : fields >> 3
    yield Buffer.concat([header, await exactly(bytes, size, where)])
  }
  if ((descriptor & 4) !== 0) yield await exactly(bytes, CHECKSUM_BYTES, where)
}

async function exactly(bytes: ByteReader, count: number, where: string): Promise<Buffer> {
  const read = await bytes.read(count)
  if (read.length < count) throw torn(where)
  return read
}

function torn(where: string): Error {
  return imageDamaged(where, 'its zstd stream is torn')
}
