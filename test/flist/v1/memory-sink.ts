import type { Route, TreeSink } from '../../../lib/flist/tree-sink.ts'

export interface MemoryEntry {
  name: Buffer
  parent: number
  mode: number
  uid: number
  gid: number
  size: number
  rdev: number
  mtime: number
  ctime: number
  target?: Buffer
  /** Hash and key of each block, in hex. */
  blocks: [string, string][]
}

/** A tree as plain records. It keeps copies, as the contract says. */
export class MemorySink implements TreeSink {
  readonly entries: MemoryEntry[] = []
  routes: Route[] = []
  tags = new Map<string, string>()

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
  ): number {
    if (mtimeNs !== 0 || ctimeNs !== 0) throw new Error('v1 has no nanoseconds')
    return (
      this.entries.push({ name: Buffer.from(name), parent: -1, mode, uid, gid, size, rdev, mtime, ctime, blocks: [] }) -
      1
    )
  }

  setParent(entry: number, parent: number): void {
    this.at(entry).parent = parent
  }

  setTarget(entry: number, target: Uint8Array): void {
    this.at(entry).target = Buffer.from(target)
  }

  addBlock(entry: number, id: Uint8Array, key: Uint8Array): void {
    this.at(entry).blocks.push([Buffer.from(id).toString('hex'), Buffer.from(key).toString('hex')])
  }

  setLink(): void {
    throw new Error('v1 has no hard links')
  }

  setXattr(): void {
    throw new Error('v1 has no extended attributes')
  }

  setTimesNs(): void {
    throw new Error('v1 has no nanoseconds')
  }

  setName(): void {
    throw new Error('v1 has one name')
  }

  at(entry: number): MemoryEntry {
    const found = this.entries[entry]
    if (found === undefined) throw new Error(`no entry ${entry}`)
    return found
  }

  /** Entries by path, the path's bytes in hex. */
  byPath(): Map<string, MemoryEntry> {
    const paths: Buffer[] = []
    const found = new Map<string, MemoryEntry>()
    // A parent is added before what is in it.
    for (const [index, entry] of this.entries.entries()) {
      const parent = paths[entry.parent] ?? Buffer.alloc(0)
      const path = parent.length > 0 ? Buffer.concat([parent, Buffer.from('/'), entry.name]) : entry.name
      paths[index] = path
      found.set(path.toString('hex'), entry)
    }
    return found
  }
}
