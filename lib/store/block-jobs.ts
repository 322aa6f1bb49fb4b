import type { FlistErrorCode } from '../base/index.ts'
import { STAMP_BYTES } from '../system/index.ts'
import type { BlockFormat } from './port.ts'

/** What a thread that makes blocks is told when it starts. */
export interface BlockThreadData {
  readonly format: BlockFormat
  /** Folders it stores blocks in by itself. */
  readonly folders: readonly {
    readonly start: number
    readonly end: number
    readonly name: string
    readonly path: string
  }[]
  /** By first byte of an id: 1 where the stored bytes are wanted back, for stores elsewhere. */
  readonly wanted: Uint8Array
}

/** To a thread: pieces of files to read, or of bytes that are here. */
export type BlockJob =
  | { readonly number: number; readonly kind: 'files'; readonly count: number; readonly records: Uint8Array }
  | { readonly number: number; readonly kind: 'bytes'; readonly pieces: Uint32Array; readonly bytes: SharedArrayBuffer }
  | { readonly number: number; readonly kind: 'sync' }

/** From a thread. `stored` has one item for each piece whose bytes are wanted, in order. */
export type BlockReply =
  | { readonly number: number; readonly results: Uint8Array; readonly stored: readonly Uint8Array[] }
  | {
      readonly number: number
      readonly failure: { code: FlistErrorCode | undefined; message: string; hint: string | undefined }
    }

/** One piece of a file to read; bytes. The name follows, with a NUL; the next record after it. */
export const PIECE = {
  dir: 0 /* i32, an open folder */,
  nameBytes: 4 /* u16, with the NUL */,
  follow: 6 /* u16, 1: the name may be a symbolic link */,
  offset: 8 /* f64 */,
  bytes: 16 /* u32 */,
  stamp: 20 /* what the file must be before and after */,
  size: 20 + STAMP_BYTES,
} as const

/** What came of a piece; bytes. Id and key follow. */
export const RESULT = {
  state: 0 /* u8, STATE */,
  flags: 1 /* u8, RESULT_FLAG */,
  errno: 4 /* u32 */,
  storedBytes: 8 /* u32 */,
  size: 12,
} as const

export const STATE = { done: 0, changed: 1, failed: 2 } as const
/** `fresh`: a folder did not have the block. `returned`: its bytes are in `stored`. `xattrs`: the file has some, or may have. */
export const RESULT_FLAG = { fresh: 1, returned: 2, xattrs: 4 } as const

/** Bytes of one result with its id and key. */
export function resultBytes(format: BlockFormat): number {
  return RESULT.size + 2 * hashBytesOf(format)
}

export function hashBytesOf(format: BlockFormat): 16 | 32 {
  return format === 'fl' ? 32 : 16
}
