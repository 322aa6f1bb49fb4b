/** What the session thread tells the fetch thread. `unique` is a u64 in two words. */
export type FetchMessage =
  | {
      readonly op: 'read'
      readonly lo: number
      readonly hi: number
      readonly row: number
      readonly offset: number
      readonly bytes: number
    }
  | { readonly op: 'interrupt'; readonly lo: number; readonly hi: number }
  /** A reader reached a marked block. */
  | { readonly op: 'reached'; readonly block: number }
  /** A large file was opened: may the kernel read it itself soon? */
  | { readonly op: 'opened'; readonly row: number }
  /** Segments read since the last time. */
  | { readonly op: 'used'; readonly segments: readonly number[] }
  | { readonly op: 'close' }

/** What the fetch thread tells the session thread: the file at `path` holds the row's content, whole. */
export interface WholeMessage {
  readonly row: number
  readonly path: string
}

/** The same for a session that answers the kernel itself: what a read came to. */
export interface ReplyMessage {
  readonly lo: number
  readonly hi: number
  /** 0: `content` is what was read. */
  readonly errno: number
  readonly content: Uint8Array
}
