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
  | { readonly op: 'close' }
