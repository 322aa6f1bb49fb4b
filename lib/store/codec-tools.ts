import { FlistError, invariant, LIMITS } from '../base/index.ts'
import type { BlockRef } from './port.ts'

/** What both codecs need: loaded once per thread, then synchronous. */
interface Tools {
  readonly compress: (bytes: Uint8Array) => Buffer
  readonly uncompress: (bytes: Uint8Array) => Buffer
  readonly blake2b256: (bytes: Uint8Array) => Uint8Array
  readonly blake2b128: (bytes: Uint8Array) => Uint8Array
}

// A copy belongs to Node and may be transferred to another thread; what Rust allocated may not.
const UNCOMPRESS = { asBuffer: true, copyOutputData: true } as const
const COMPRESS = { copyOutputData: true } as const

let tools: Tools | undefined
let loading: Promise<void> | undefined

/** Loads compression and hashing (20 ms): call before the first `decodeBlock` or `encodeBlock` of a thread. May be called again. */
export function prepareCodec(): Promise<void> {
  loading ??= load().catch((error: unknown) => {
    // A package that is replaced at this moment is there at the next.
    loading = undefined
    throw error
  })
  return loading
}

/** True once `prepareCodec` is done. */
export function codecReady(): boolean {
  return tools !== undefined
}

async function load(): Promise<void> {
  const [snappy, { createBLAKE2b }] = await Promise.all([import('snappy'), import('hash-wasm')])
  // One hasher serves all callers of a thread: from init() to digest() nothing else runs.
  const [wide, narrow] = await Promise.all([createBLAKE2b(256), createBLAKE2b(128)])
  tools = {
    compress: (bytes) => snappy.compressSync(bytes, COMPRESS),
    uncompress: (bytes) => asBuffer(snappy.uncompressSync(bytes, UNCOMPRESS)),
    blake2b256: (bytes) => wide.init().update(bytes).digest('binary'),
    blake2b128: (bytes) => narrow.init().update(bytes).digest('binary'),
  }
}

function asBuffer(value: string | Buffer): Buffer {
  invariant(typeof value !== 'string', 'snappy was asked for a buffer')
  return value
}

export function codecTools(): Tools {
  invariant(tools !== undefined, 'prepareCodec() comes before the first block')
  return tools
}

/** The uncompressed length a raw snappy stream declares, or -1 where it is no number of 32 bits. */
export function declaredBytes(stream: Uint8Array): number {
  let value = 0
  let scale = 1
  for (let at = 0; at < 5; at += 1) {
    const byte = stream[at]
    if (byte === undefined) return -1
    value += (byte & 0x7f) * scale
    if (byte < 0x80) return value <= 0xffffffff ? value : -1
    scale *= 128
  }
  return -1
}

/** Uncompresses what a cipher gave, never more than a block's bytes: the length is read before memory is spent. */
export function uncompressBlock(ref: BlockRef, stream: Uint8Array): Buffer {
  const declared = declaredBytes(stream)
  if (declared < 0 || declared > LIMITS.blockBytesMax)
    throw corruptBlock(ref, 'its compressed stream declares a wrong length')
  try {
    return codecTools().uncompress(stream)
  } catch (cause) {
    throw corruptBlock(ref, 'its compressed stream is damaged', cause)
  }
}

/** The last check of both formats. A good hash with another length is the archive's fault: no other copy will do better. */
export function checkPlain(ref: BlockRef, plain: Buffer, hash: Uint8Array): Buffer {
  if (!ref.key.equals(hash)) throw corruptBlock(ref, 'its content does not match its key')
  if (plain.length !== ref.plainBytes) {
    throw new FlistError(
      'FLIST_FILE_TRUNCATED',
      `Cannot read block "${ref.id.toString('hex')}": it holds ${plain.length} bytes, the file needs ${ref.plainBytes}`,
      { hint: 'The archive was damaged by its writer: pack it again' },
    )
  }
  return plain
}

export function corruptBlock(ref: BlockRef, why: string, cause?: unknown): FlistError {
  return new FlistError('FLIST_BLOCK_CORRUPT', `Cannot read block "${ref.id.toString('hex')}": ${why}`, {
    hint: 'Fetch the block from another store: `flistfs mount --store URL`',
    ...(cause === undefined ? {} : { cause }),
  })
}
