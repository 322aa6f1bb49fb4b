import { displayBytes, LIMITS } from '../base/index.ts'
import { grownCapacity, GrowingBytes, GrowingU32, PairRecords } from './columns.ts'
import { beyondLimit, damaged } from './damage.ts'
import { FILE_TYPE, isDevice, isKnownType } from './file-type.ts'
import { Owners } from './owners.ts'
import type { Route, TreeSink } from './tree-sink.ts'
import { checkXattr } from './xattr-rules.ts'

/** Not an entry: no parent yet, or no leader. */
export const NONE = 0xffff_ffff

/** Names longer than this are refused at once; between the two a later `setName` may give the real one. */
const RAW_NAME_BYTES_MAX = 4 * LIMITS.nameBytesMax + 4

/** One typed array for each attribute of an entry: entries cost bytes, not objects. */
export class EntryColumns {
  count = 0
  nameAt = new Uint32Array(0)
  nameBytes = new Uint16Array(0)
  parent = new Uint32Array(0)
  mode = new Uint16Array(0)
  owner = new Uint32Array(0)
  size = new Float64Array(0)
  mtime = new Float64Array(0)
  ctime = new Float64Array(0)
  /** Symbolic link: where its target begins in `names`. Device: its number. */
  first = new Uint32Array(0)
  /** File: block references. Symbolic link: bytes of its target. */
  references = new Uint32Array(0)
  /** Nanoseconds and leaders: empty until one is needed. */
  mtimeNs = new Uint32Array(0)
  ctimeNs = new Uint32Array(0)
  leader = new Uint32Array(0)

  grow(): void {
    const capacity = grownCapacity(this.mode.length, this.count + 1)
    this.nameAt = copied(new Uint32Array(capacity), this.nameAt)
    this.nameBytes = copied(new Uint16Array(capacity), this.nameBytes)
    this.parent = copied(new Uint32Array(capacity), this.parent)
    this.mode = copied(new Uint16Array(capacity), this.mode)
    this.owner = copied(new Uint32Array(capacity), this.owner)
    this.size = copied(new Float64Array(capacity), this.size)
    this.mtime = copied(new Float64Array(capacity), this.mtime)
    this.ctime = copied(new Float64Array(capacity), this.ctime)
    this.first = copied(new Uint32Array(capacity), this.first)
    this.references = copied(new Uint32Array(capacity), this.references)
    if (this.mtimeNs.length > 0) this.needNanoseconds(capacity)
    if (this.leader.length > 0) this.needLeaders(capacity)
  }

  needNanoseconds(capacity = this.mode.length): void {
    if (this.mtimeNs.length === capacity) return
    this.mtimeNs = copied(new Uint32Array(capacity), this.mtimeNs)
    this.ctimeNs = copied(new Uint32Array(capacity), this.ctimeNs)
  }

  needLeaders(capacity = this.mode.length): void {
    if (this.leader.length === capacity) return
    this.leader = copied(new Uint32Array(capacity).fill(NONE), this.leader)
  }
}

function copied<T extends Uint32Array | Uint16Array | Float64Array>(target: T, source: T): T {
  target.set(source)
  return target
}

export interface TreeBuilderOptions {
  format: 'fl' | 'v1'
  hashBytes: 16 | 32
}

/**
 * Collects an archive's entries, from either reader, in any order after the root. Memory is bounded by the columns.
 * Each call checks what it can by itself (FLIST_ARCHIVE_DAMAGED, FLIST_LIMIT); `orderTree` checks the whole.
 */
export class TreeBuilder implements TreeSink {
  readonly format: 'fl' | 'v1'
  readonly hashBytes: 16 | 32
  routes: Route[] = []
  tags = new Map<string, string>()
  /** For this room only: what `orderTree` and the index writer read. */
  readonly columns = new EntryColumns()
  readonly names = new GrowingBytes()
  readonly owners = new Owners()
  readonly blockEntry = new GrowingU32()
  readonly blocks: PairRecords
  readonly xattrEntry = new GrowingU32()
  /** Four numbers each: name offset, name bytes, value offset, value bytes; in `xattrBytes`. */
  readonly xattrSpans = new GrowingU32()
  readonly xattrBytes = new GrowingBytes()
  hasAcls = false

  constructor(options: TreeBuilderOptions) {
    this.format = options.format
    this.hashBytes = options.hashBytes
    this.blocks = new PairRecords(options.hashBytes)
  }

  get entryCount(): number {
    return this.columns.count
  }

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
    const columns = this.columns
    const entry = columns.count
    if (entry >= LIMITS.entriesMax) throw beyondLimit('this archive', `it has more than ${LIMITS.entriesMax} entries`)
    checkAttributes(name, mode, size, rdev, mtime, ctime)
    if (entry === columns.mode.length) columns.grow()
    columns.count = entry + 1
    columns.nameAt[entry] = this.#appendName(name)
    columns.nameBytes[entry] = name.length
    columns.parent[entry] = NONE
    columns.mode[entry] = mode
    columns.owner[entry] = this.owners.number(uid, gid)
    columns.size[entry] = size
    columns.mtime[entry] = mtime
    columns.ctime[entry] = ctime
    columns.first[entry] = isDevice(mode) ? rdev : 0
    columns.references[entry] = 0
    if (mtimeNs !== 0 || ctimeNs !== 0) this.setTimesNs(entry, mtimeNs, ctimeNs)
    return entry
  }

  setParent(entry: number, parent: number): void {
    this.#known(entry)
    this.#known(parent)
    this.columns.parent[entry] = parent
  }

  setName(entry: number, name: Uint8Array): void {
    this.#known(entry)
    if (name.length > RAW_NAME_BYTES_MAX) throw damaged(this.display(entry), 'its name is too long')
    this.columns.nameAt[entry] = this.#appendName(name)
    this.columns.nameBytes[entry] = name.length
  }

  setTarget(entry: number, target: Uint8Array): void {
    if (this.#typeOf(entry) !== FILE_TYPE.link) {
      throw damaged(this.display(entry), 'it has a link target but is no symbolic link')
    }
    if (target.length === 0 || target.length > LIMITS.linkTargetBytesMax || target.includes(0)) {
      throw damaged(this.display(entry), `its target has no bytes, more than ${LIMITS.linkTargetBytesMax}, or a NUL`)
    }
    this.columns.first[entry] = this.#appendName(target)
    this.columns.references[entry] = target.length
  }

  addBlock(entry: number, id: Uint8Array, key: Uint8Array): void {
    const hashBytes = this.hashBytes
    if (this.#typeOf(entry) !== FILE_TYPE.file) throw damaged(this.display(entry), 'it has blocks but is no file')
    if (id.length !== hashBytes || key.length !== hashBytes) {
      throw damaged(this.display(entry), `a block's id or key does not have ${hashBytes} bytes`)
    }
    if (this.blocks.length >= LIMITS.blocksMax) {
      throw beyondLimit('this archive', `it has more than ${LIMITS.blocksMax} blocks`)
    }
    this.blockEntry.push(entry)
    this.blocks.push(id, key)
    this.columns.references[entry] = (this.columns.references[entry] ?? 0) + 1
  }

  setLink(entry: number, leader: number): void {
    this.#known(entry)
    this.#known(leader)
    if (entry === leader) throw damaged(this.display(entry), 'it is a hard link to itself')
    this.columns.needLeaders()
    this.columns.leader[entry] = leader
  }

  setXattr(entry: number, name: Uint8Array, value: Uint8Array): void {
    this.#known(entry)
    const why = checkXattr(name, value)
    if (why !== undefined) throw damaged(this.display(entry), why)
    if (this.xattrBytes.length + name.length + value.length > LIMITS.xattrsBytesMax) {
      throw beyondLimit('this archive', `its extended attributes have more than ${LIMITS.xattrsBytesMax} bytes`)
    }
    this.xattrEntry.push(entry)
    this.xattrSpans.push(this.xattrBytes.append(name))
    this.xattrSpans.push(name.length)
    this.xattrSpans.push(this.xattrBytes.append(value))
    this.xattrSpans.push(value.length)
    if (Buffer.from(name).toString('latin1').startsWith('system.posix_acl_')) this.hasAcls = true
  }

  setTimesNs(entry: number, mtimeNs: number, ctimeNs: number): void {
    this.#known(entry)
    if (!isNanoseconds(mtimeNs) || !isNanoseconds(ctimeNs)) {
      throw damaged(this.display(entry), 'a fraction of its times is not 0 to 999999999 ns')
    }
    this.columns.needNanoseconds()
    this.columns.mtimeNs[entry] = mtimeNs
    this.columns.ctimeNs[entry] = ctimeNs
  }

  /** The entry's path for a message; of a long or circular one the end only. */
  display(entry: number): string {
    const parts: string[] = []
    for (let at = entry, depth = 0; at !== 0 && at !== NONE && depth < 64; depth += 1) {
      const from = this.columns.nameAt[at] ?? 0
      parts.unshift(displayBytes(this.names.bytes.subarray(from, from + (this.columns.nameBytes[at] ?? 0))))
      at = this.columns.parent[at] ?? NONE
    }
    return `"${parts.length === 0 ? '/' : parts.join('/')}"`
  }

  #appendName(name: Uint8Array): number {
    if (this.names.length + name.length > LIMITS.namesBytesMax) {
      throw beyondLimit('this archive', `its names have more than ${LIMITS.namesBytesMax} bytes`)
    }
    return this.names.append(name)
  }

  #known(entry: number): void {
    if (!(entry >= 0 && entry < this.columns.count)) throw new RangeError(`Cannot find entry ${entry} in the tree`)
  }

  #typeOf(entry: number): number {
    this.#known(entry)
    return (this.columns.mode[entry] ?? 0) & FILE_TYPE.mask
  }
}

function isNanoseconds(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 999_999_999
}

function checkAttributes(
  name: Uint8Array,
  mode: number,
  size: number,
  rdev: number,
  mtime: number,
  ctime: number,
): void {
  let why: string | undefined
  if (name.length > RAW_NAME_BYTES_MAX) why = 'its name is too long'
  else if (!(mode >= 0 && mode <= 0xffff) || !isKnownType(mode)) why = `its mode ${mode.toString(8)} has no known type`
  else if (!Number.isInteger(size) || size < 0) why = `its size ${size} is not a number of bytes`
  else if (size > LIMITS.fileBytesMax) why = `its size ${size} is more than ${LIMITS.fileBytesMax}`
  else if (!Number.isSafeInteger(mtime) || !Number.isSafeInteger(ctime)) why = 'a time is not a whole number below 2^53'
  else if (isDevice(mode) && !(rdev >= 0 && rdev < 2 ** 32)) why = `its device number ${rdev} is out of range`
  if (why !== undefined) throw damaged(`"${displayBytes(name.subarray(0, LIMITS.nameBytesMax))}"`, why)
}
