import { LIMITS } from '../../base/index.ts'
import { FILE_TYPE } from '../file-type.ts'
import type { TreeSink } from '../tree-sink.ts'
import type { Accounts } from './accounts.ts'
import { MessageError, MessageReader } from './capnp.ts'
import type { Entries } from './entries.ts'
import {
  ATTRIBUTES,
  BLOCK_SIZE_UNITS,
  DIR,
  FILE,
  FILE_BLOCK,
  HASH_BYTES,
  INODE,
  LINK,
  SPECIAL,
  SUB_DIR,
} from './layout.ts'
import { PermissionTable, type Permissions } from './permissions.ts'
import { deviceNumber, specialType } from './special-file.ts'

/** A folder named in another's contents. */
export interface Subdirectory {
  /** Of its row. */
  key: string
  /** Its name, one character a byte. */
  name: string
  /** Its number in the tree. */
  entry: number
}

const MODE_BITS = 0o7777
const KEY_BYTES_MAX = 64
const EMPTY = new Uint8Array(0)
const U32 = 2 ** 32

/** Turns one Dir message after another into entries of the tree. */
export class DirectoryReader {
  readonly #sink: TreeSink
  readonly #reader = new MessageReader()
  readonly #permissions: PermissionTable
  entryCount = 0

  constructor(entries: Entries, sink: TreeSink, accounts: Accounts) {
    this.#sink = sink
    this.#permissions = new PermissionTable(entries, new MessageReader(), accounts)
  }

  /**
   * Adds the contents of the folder `entry`; -1 is the root, which is added first. A folder's attributes stand in its own Dir and in its
   * parent's Inode. `zflist chmod` changes only the Inode, so that one counts (rfs 1 does the same; 0-fs takes the Dir's). The
   * root has no Inode. Throws MessageError and what the sink throws.
   */
  read(message: Uint8Array, entry: number, onDirectory: (found: Subdirectory) => void): void {
    const reader = this.#reader
    reader.load(message)
    if (!reader.followRoot()) throw new MessageError('its root is null')
    const { segment, at, dataBytes, pointers } = reader
    const parent = entry < 0 ? this.#addRoot(segment, at, dataBytes, pointers) : entry
    if (DIR.contents >= pointers || !reader.followStructs(segment, at + dataBytes + 8 * DIR.contents)) return
    const list = reader.segment
    const { at: first, count, strideBytes, dataBytes: inodeBytes, pointers: inodePointers } = reader
    for (let index = 0; index < count; index += 1) {
      this.#readInode(list, first + index * strideBytes, inodeBytes, inodePointers, parent, onDirectory)
    }
  }

  #addRoot(segment: number, at: number, dataBytes: number, pointers: number): number {
    const { mode, uid, gid } = this.#permissionsAt(segment, at + dataBytes, pointers, DIR.aclKey)
    return this.#add(
      EMPTY,
      FILE_TYPE.directory | (mode & MODE_BITS),
      uid,
      gid,
      this.#size(at, dataBytes),
      0,
      this.#u32(at, dataBytes, DIR.modified),
      this.#u32(at, dataBytes, DIR.created),
    )
  }

  #readInode(
    segment: number,
    at: number,
    dataBytes: number,
    pointers: number,
    parent: number,
    onDirectory: (found: Subdirectory) => void,
  ): void {
    const reader = this.#reader
    const slots = at + dataBytes
    const permissions = this.#permissionsAt(segment, slots, pointers, INODE.aclKey)
    const size = this.#size(at, dataBytes)
    const modified = this.#u32(at, dataBytes, INODE.modified)
    const created = this.#u32(at, dataBytes, INODE.created)
    const tag = this.#u16(at, dataBytes, INODE.tag)
    this.#textAt(segment, slots, pointers, INODE.name)
    const name = reader.bytes()
    // A struct that is null reads as one of no size.
    if (INODE.attributes >= pointers || !reader.followStruct(segment, slots + 8 * INODE.attributes)) {
      reader.dataBytes = 0
      reader.pointers = 0
    }
    switch (tag) {
      case ATTRIBUTES.dir:
        return this.#addDirectory(name, permissions, size, modified, created, parent, onDirectory)
      case ATTRIBUTES.file:
        return this.#addFile(name, permissions, size, modified, created, parent)
      case ATTRIBUTES.link:
        return this.#addLink(name, permissions, modified, created, parent)
      case ATTRIBUTES.special:
        return this.#addSpecial(name, permissions, size, modified, created, parent)
      default:
        throw new MessageError(`an entry is of the unknown kind ${tag}`)
    }
  }

  // Each of these begins with the attributes' struct as the reader's last find.

  #addDirectory(
    name: Uint8Array,
    permissions: Permissions,
    size: number,
    modified: number,
    created: number,
    parent: number,
    onDirectory: (found: Subdirectory) => void,
  ): void {
    const reader = this.#reader
    this.#textAt(reader.segment, reader.at + reader.dataBytes, reader.pointers, SUB_DIR.key)
    if (reader.count > KEY_BYTES_MAX) throw new MessageError(`a folder's key has ${reader.count} bytes`)
    const key = reader.latin1()
    const mode = FILE_TYPE.directory | (permissions.mode & MODE_BITS)
    const entry = this.#add(name, mode, permissions.uid, permissions.gid, size, 0, modified, created, parent)
    onDirectory({ key, name: Buffer.from(name.buffer, name.byteOffset, name.length).toString('latin1'), entry })
  }

  #addFile(
    name: Uint8Array,
    permissions: Permissions,
    size: number,
    modified: number,
    created: number,
    parent: number,
  ): void {
    const reader = this.#reader
    const { segment, at, dataBytes, pointers } = reader
    const blockSize = this.#u16(at, dataBytes, FILE.blockSize)
    // 0-fs places blocks by this number and others ignore it: another one would be two different files.
    if (blockSize !== BLOCK_SIZE_UNITS && blockSize !== 0) throw new MessageError(`a file's block size is ${blockSize}`)
    const mode = FILE_TYPE.file | (permissions.mode & MODE_BITS)
    const entry = this.#add(name, mode, permissions.uid, permissions.gid, size, 0, modified, created, parent)
    if (FILE.blocks >= pointers || !reader.followStructs(segment, at + dataBytes + 8 * FILE.blocks)) return
    const list = reader.segment
    const { at: first, count, strideBytes, dataBytes: blockBytes, pointers: blockPointers } = reader
    for (let index = 0; index < count; index += 1) {
      const slots = first + index * strideBytes + blockBytes
      const hash = this.#hashAt(list, slots, blockPointers, FILE_BLOCK.hash)
      this.#sink.addBlock(entry, hash, this.#hashAt(list, slots, blockPointers, FILE_BLOCK.key))
    }
  }

  #addLink(name: Uint8Array, permissions: Permissions, modified: number, created: number, parent: number): void {
    const reader = this.#reader
    this.#textAt(reader.segment, reader.at + reader.dataBytes, reader.pointers, LINK.target)
    const target = reader.bytes()
    const mode = FILE_TYPE.link | 0o777
    const entry = this.#add(name, mode, permissions.uid, permissions.gid, target.length, 0, modified, created, parent)
    this.#sink.setTarget(entry, target)
  }

  #addSpecial(
    name: Uint8Array,
    permissions: Permissions,
    size: number,
    modified: number,
    created: number,
    parent: number,
  ): void {
    const reader = this.#reader
    const type = this.#u16(reader.at, reader.dataBytes, SPECIAL.type)
    this.#textAt(reader.segment, reader.at + reader.dataBytes, reader.pointers, SPECIAL.data)
    const data = reader.count > KEY_BYTES_MAX ? '' : reader.latin1()
    const mode = specialType(type, data, permissions.mode) | (permissions.mode & MODE_BITS)
    const { uid, gid } = permissions
    this.#add(name, mode, uid, gid, size, deviceNumber(data), modified, created, parent)
  }

  #add(
    name: Uint8Array,
    mode: number,
    uid: number,
    gid: number,
    size: number,
    rdev: number,
    modified: number,
    created: number,
    parent = -1,
  ): number {
    const entry = this.#sink.add(name, mode, uid, gid, size, rdev, modified, 0, created, 0)
    if (parent >= 0) this.#sink.setParent(entry, parent)
    this.entryCount += 1
    return entry
  }

  #permissionsAt(segment: number, slots: number, pointers: number, slot: number): Permissions {
    this.#textAt(segment, slots, pointers, slot)
    return this.#permissions.get(this.#reader.count === 0 ? '' : this.#reader.latin1())
  }

  /** Leaves the text of a pointer slot as the reader's last find, empty where the slot is missing. */
  #textAt(segment: number, slots: number, pointers: number, slot: number): void {
    if (slot < pointers) this.#reader.followText(segment, slots + 8 * slot)
    else this.#reader.count = 0
  }

  #hashAt(segment: number, slots: number, pointers: number, slot: number): Uint8Array {
    const reader = this.#reader
    if (slot >= pointers || !reader.followBytes(segment, slots + 8 * slot)) reader.count = 0
    if (reader.count !== HASH_BYTES) throw new MessageError(`a block's hash or key has ${reader.count} bytes`)
    return reader.bytes()
  }

  #size(at: number, dataBytes: number): number {
    if (dataBytes < DIR.size + 8) return 0
    const size = this.#reader.u32(at + DIR.size) + this.#reader.u32(at + DIR.size + 4) * U32
    if (size > LIMITS.fileBytesMax)
      throw new MessageError(`an entry's size ${size} is more than ${LIMITS.fileBytesMax}`)
    return size
  }

  #u32(at: number, dataBytes: number, offset: number): number {
    return offset + 4 <= dataBytes ? this.#reader.u32(at + offset) : 0
  }

  #u16(at: number, dataBytes: number, offset: number): number {
    return offset + 2 <= dataBytes ? this.#reader.u16(at + offset) : 0
  }
}
