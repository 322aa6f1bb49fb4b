/** What the session thread tells the fetch thread. `mount` is a number that is never used twice; `unique` is a u64 in two words. */
export type FetchMessage =
  /** All there is to know of a mount; comes before anything else about it. */
  | { readonly op: 'open'; readonly mount: number; readonly data: unknown }
  | MountMessage
  /** Segments read since the last time. */
  | { readonly op: 'used'; readonly segments: readonly number[] }
  | { readonly op: 'close'; readonly mount: number }
  /** No mount is left: write what waits, and leave. */
  | { readonly op: 'end' }

export type ReadMessage = {
  readonly op: 'read'
  readonly mount: number
  readonly lo: number
  readonly hi: number
  readonly row: number
  readonly offset: number
  readonly bytes: number
  /** Where it is noted until it is answered (`PostedReads`); -1: nowhere. */
  readonly slot: number
}

export type MountMessage =
  | ReadMessage
  | { readonly op: 'interrupt'; readonly mount: number; readonly lo: number; readonly hi: number }
  /** A reader reached a marked block. */
  | { readonly op: 'reached'; readonly mount: number; readonly block: number }
  /** A large file was opened: may the kernel read it itself soon? */
  | { readonly op: 'opened'; readonly mount: number; readonly row: number }

/** What a read came to, for a session that answers the kernel itself. */
export interface ReadReply {
  readonly lo: number
  readonly hi: number
  /** 0: `content` is what was read. */
  readonly errno: number
  readonly content: Uint8Array
}

/** What the fetch thread tells the session thread. */
export type FetchReply =
  /** It has started. */
  | { readonly op: 'up' }
  /** The file at `path` holds the row's content, whole. */
  | { readonly op: 'whole'; readonly mount: number; readonly row: number; readonly path: string }
  | ({ readonly op: 'reply'; readonly mount: number } & ReadReply)
  /** All is written and closed. What may hold the thread still is a call that nobody waits for: a name that is looked up. */
  | { readonly op: 'over' }
  /** Nothing of this mount is left in the thread. */
  | { readonly op: 'closed'; readonly mount: number }
