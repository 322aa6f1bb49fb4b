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
const NOBODY: Permissions = { mode: 0, uid: 0, gid: 0 }
const U32 = 2 ** 32

/** Turns one Dir message after another into entries of the tree. */
export class DirectoryReader {
  readonly #sink: TreeSink
  readonly #reader = new MessageReader()
  readonly #permissions: PermissionTable
  entryCount = 0
  // The entry being read: its Inode, and the one it is in (-1: it is the root).
  #name: Uint8Array = EMPTY
  #owner = NOBODY
  #size = 0
  #modified = 0
  #created = 0
  #parent = -1

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
      this.#parent = parent
      this.#readInode(list, first + index * strideBytes, inodeBytes, inodePointers, onDirectory)
    }
  }

  #addRoot(segment: number, at: number, dataBytes: number, pointers: number): number {
    this.#owner = this.#permissionsAt(segment, at + dataBytes, pointers, DIR.aclKey)
    this.#size = this.#sizeAt(at, dataBytes)
    this.#modified = this.#u32(at, dataBytes, DIR.modified)
    this.#created = this.#u32(at, dataBytes, DIR.created)
    this.#name = EMPTY
    this.#parent = -1
    return this.#add(FILE_TYPE.directory, 0)
  }

  #readInode(
    segment: number,
    at: number,
    dataBytes: number,
    pointers: number,
    onDirectory: (found: Subdirectory) => void,
  ): void {
    const reader = this.#reader
    const slots = at + dataBytes
    this.#owner = this.#permissionsAt(segment, slots, pointers, INODE.aclKey)
    this.#size = this.#sizeAt(at, dataBytes)
    this.#modified = this.#u32(at, dataBytes, INODE.modified)
    this.#created = this.#u32(at, dataBytes, INODE.created)
    this.#textAt(segment, slots, pointers, INODE.name)
    this.#name = reader.bytes()
    const tag = this.#u16(at, dataBytes, INODE.tag)
    // A struct that is null reads as one of no size.
    if (INODE.attributes >= pointers || !reader.followStruct(segment, slots + 8 * INODE.attributes)) {
      reader.dataBytes = 0
      reader.pointers = 0
    }
    if (tag === ATTRIBUTES.file) this.#addFile()
    else if (tag === ATTRIBUTES.dir) onDirectory(this.#addDirectory())
    else if (tag === ATTRIBUTES.link) this.#addLink()
    else if (tag === ATTRIBUTES.special) this.#addSpecial()
    else throw new MessageError(`an entry is of the unknown kind ${tag}`)
  }

  // Each of these begins with the attributes' struct as the reader's last find.

  #addDirectory(): Subdirectory {
    const reader = this.#reader
    this.#textAt(reader.segment, reader.at + reader.dataBytes, reader.pointers, SUB_DIR.key)
    if (reader.count > KEY_BYTES_MAX) throw new MessageError(`a folder's key has ${reader.count} bytes`)
    const key = reader.latin1()
    const { buffer, byteOffset, length } = this.#name
    const entry = this.#add(FILE_TYPE.directory, 0)
    return { key, name: Buffer.from(buffer, byteOffset, length).toString('latin1'), entry }
  }

  #addFile(): void {
    const reader = this.#reader
    const { segment, at, dataBytes, pointers } = reader
    const blockSize = this.#u16(at, dataBytes, FILE.blockSize)
    // 0-fs places blocks by this number and others ignore it: another one would be two different files.
    if (blockSize !== BLOCK_SIZE_UNITS && blockSize !== 0) throw new MessageError(`a file's block size is ${blockSize}`)
    const entry = this.#add(FILE_TYPE.file, 0)
    if (FILE.blocks >= pointers || !reader.followStructs(segment, at + dataBytes + 8 * FILE.blocks)) return
    const list = reader.segment
    const { at: first, count, strideBytes, dataBytes: blockBytes, pointers: blockPointers } = reader
    for (let index = 0; index < count; index += 1) {
      const slots = first + index * strideBytes + blockBytes
      const hash = this.#hashAt(list, slots, blockPointers, FILE_BLOCK.hash)
      this.#sink.addBlock(entry, hash, this.#hashAt(list, slots, blockPointers, FILE_BLOCK.key))
    }
  }

  #addLink(): void {
    const reader = this.#reader
    this.#textAt(reader.segment, reader.at + reader.dataBytes, reader.pointers, LINK.target)
    const target = reader.bytes()
    // What lstat says of a link, whatever the archive does.
    this.#size = target.length
    this.#owner = { mode: 0o777, uid: this.#owner.uid, gid: this.#owner.gid }
    this.#sink.setTarget(this.#add(FILE_TYPE.link, 0), target)
  }

  #addSpecial(): void {
    const reader = this.#reader
    const type = this.#u16(reader.at, reader.dataBytes, SPECIAL.type)
    this.#textAt(reader.segment, reader.at + reader.dataBytes, reader.pointers, SPECIAL.data)
    const data = reader.count > KEY_BYTES_MAX ? '' : reader.latin1()
    this.#add(specialType(type, data, this.#owner.mode), deviceNumber(data))
  }

  #add(type: number, rdev: number): number {
    const { mode, uid, gid } = this.#owner
    const stMode = type | (mode & MODE_BITS)
    const entry = this.#sink.add(this.#name, stMode, uid, gid, this.#size, rdev, this.#modified, 0, this.#created, 0)
    if (this.#parent >= 0) this.#sink.setParent(entry, this.#parent)
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

  #sizeAt(at: number, dataBytes: number): number {
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
