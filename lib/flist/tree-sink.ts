/** Where the blocks whose first id byte lies in a range are found. */
export interface Route {
  /** First and last value of the id's first byte, 0 to 255, both included. */
  start: number
  end: number
  url: string
}

/**
 * What a reader of an archive fills. `TreeBuilder` is the real one. The first entry added is the root; names, targets,
 * ids and keys are copied, so a reader may pass views of a buffer it will overwrite.
 */
export interface TreeSink {
  /** Returns the entry's number. `mode` carries the type bits; times are safe integers, nanoseconds 0 to 999999999. */
  add(
    name: Uint8Array,
    mode: number,
    uid: number,
    gid: number,
    size: number,
    rdev: number,
    mtime: number,
    mtimeNs: number,
    ctime: number,
    ctimeNs: number,
  ): number
  setParent(entry: number, parent: number): void
  setTarget(entry: number, target: Uint8Array): void
  /** Blocks of one entry arrive in order and together. */
  addBlock(entry: number, id: Uint8Array, key: Uint8Array): void
  setLink(entry: number, leader: number): void
  setXattr(entry: number, name: Uint8Array, value: Uint8Array): void
  setTimesNs(entry: number, mtimeNs: number, ctimeNs: number): void
  setName(entry: number, name: Uint8Array): void
  /** In the order to try. */
  routes: Route[]
  tags: Map<string, string>
}
