/** Where stored (encrypted) blocks go. */
export interface BlockSink {
  /** For people: the URL without secrets. */
  readonly name: string
  /**
   * True where the store has this block. Throws FLIST_STORE_UNREACHABLE / _DENIED / _PROTOCOL / FLIST_TIMEOUT, and
   * FLIST_INTERRUPTED when `signal` aborts. May be called again at any time.
   */
  has(id: Buffer, signal: AbortSignal): Promise<boolean>
  /** The store has the block, whole, once this returns; it may have had it before. Throws as `has`. May be called again. */
  put(id: Buffer, stored: Buffer, signal: AbortSignal): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}
