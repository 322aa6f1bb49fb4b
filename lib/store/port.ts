import type { Haste } from './haste.ts'

/** Where stored (encrypted) blocks come from. */
export interface BlockSource {
  /** For people: the URL without secrets. */
  readonly name: string
  /**
   * The stored bytes, which the caller may give back with `giveStored`, or undefined when this source does not have the block. Throws FLIST_STORE_UNREACHABLE / _DENIED /
   * _PROTOCOL / FLIST_TIMEOUT, and FLIST_INTERRUPTED when `signal` aborts. May be called again at any time.
   */
  get(id: Buffer, signal: AbortSignal): Promise<Buffer | undefined>
  /** Whether the block is here, without its bytes, where that can be asked. Throws as `get`. */
  has?(id: Buffer, signal: AbortSignal): Promise<boolean>
  /** True where the block is seen to be here without waiting for anybody; false says nothing. */
  hasNow?(id: Buffer): boolean
  [Symbol.asyncDispose](): Promise<void>
}

export type BlockFormat = 'fl' | 'v1'

/** What a mount asks for: one block reference. */
export interface BlockRef {
  readonly format: BlockFormat
  /** 32 bytes (fl) or 16 (v1). */
  readonly id: Buffer
  readonly key: Buffer
  /** Plain bytes the file's size calls for: 1..`LIMITS.blockBytesMax`. */
  readonly plainBytes: number
  /** Nobody waits for this block yet: requests without this mark go first. */
  readonly ahead?: boolean
  /** The same, where it may change before the block is here; goes before `ahead`. */
  readonly haste?: Haste
}

/** Plain, verified blocks. */
export interface BlockReader {
  /**
   * The bytes are the caller's alone. Throws FLIST_BLOCK_CORRUPT, _MISSING, _NOT_ROUTED, FLIST_FILE_TRUNCATED, FLIST_STORE_*, FLIST_TIMEOUT, and
   * FLIST_INTERRUPTED when `signal` aborts.
   */
  read(ref: BlockRef, signal: AbortSignal): Promise<Buffer>
  [Symbol.asyncDispose](): Promise<void>
}
