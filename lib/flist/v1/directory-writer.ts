import { FILE_TYPE } from '../file-type.ts'
import type { TreeRows } from '../tree-rows.ts'
import type { AclWriter } from './acl-writer.ts'
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
  SPECIAL_TYPE,
  STRUCTS,
  SUB_DIR,
} from './layout.ts'
import { MessageBuilder } from './message-builder.ts'

const WORD = 8
const U32_MAX = 0xffff_ffff
const SLASH = Buffer.from('/')
const EMPTY = Buffer.alloc(0)
const NOTHING = Buffer.from('(nothing)')
const SPECIAL_OF: ReadonlyMap<number, number> = new Map([
  [FILE_TYPE.socket, SPECIAL_TYPE.socket],
  [FILE_TYPE.block, SPECIAL_TYPE.block],
  [FILE_TYPE.character, SPECIAL_TYPE.character],
  [FILE_TYPE.fifo, SPECIAL_TYPE.fifo],
])

/** Makes the Dir message of one folder after another: flist-v1.md sections 4 and 5. */
export class DirectoryWriter {
  readonly #rows: TreeRows
  readonly #acls: AclWriter
  /** BLAKE2b-128 of a path, in hex. */
  readonly #keyOf: (path: Buffer) => string
  readonly #message = new MessageBuilder()
  readonly #hash = Buffer.alloc(HASH_BYTES)

  constructor(rows: TreeRows, acls: AclWriter, keyOf: (path: Buffer) => string) {
    this.#rows = rows
    this.#acls = acls
    this.#keyOf = keyOf
  }

  /** The folder's key and message; the message is a view, good until the next call. */
  write(row: number): { key: string; message: Buffer } {
    const { order } = this.#rows
    const path = this.#pathOf(row)
    const message = this.#message
    const dir = message.begin(STRUCTS.dir.data, STRUCTS.dir.pointers)
    const pointers = dir + STRUCTS.dir.data * WORD
    message.u64(dir + DIR.size, this.#size(row))
    message.u32(dir + DIR.modified, this.#seconds('mtime', row))
    message.u32(dir + DIR.created, this.#seconds('ctime', row))
    message.text(pointers + WORD * DIR.name, this.#rows.name(row))
    message.text(pointers + WORD * DIR.location, path)
    const key = this.#keyOf(path)
    const parent = row === 0 ? key : this.#keyOf(this.#pathOf(order.parent[row] ?? 0))
    message.text(pointers + WORD * DIR.parent, Buffer.from(parent))
    message.text(pointers + WORD * DIR.aclKey, Buffer.from(this.#acl(row)))
    const count = order.childCount[row] ?? 0
    const first = order.firstChild[row] ?? 0
    const { data, pointers: slots } = STRUCTS.inode
    let inode = message.structs(pointers + WORD * DIR.contents, count, data, slots)
    // Folders first, as the reference writer has them; both runs by the bytes of the names.
    for (const wantsFolders of [true, false]) {
      for (let child = first; child < first + count; child += 1) {
        if ((this.#rows.type(child) === FILE_TYPE.directory) !== wantsFolders) continue
        this.#writeInode(inode, child, path)
        inode += (data + slots) * WORD
      }
    }
    return { key, message: message.end() }
  }

  #writeInode(at: number, row: number, folder: Buffer): void {
    const message = this.#message
    const rows = this.#rows
    const pointers = at + STRUCTS.inode.data * WORD
    const name = rows.name(row)
    const type = rows.type(row)
    message.u64(at + INODE.size, this.#size(row))
    message.u32(at + INODE.modified, this.#seconds('mtime', row))
    message.u32(at + INODE.created, this.#seconds('ctime', row))
    message.text(pointers + WORD * INODE.name, name)
    message.text(pointers + WORD * INODE.aclKey, Buffer.from(this.#acl(row)))
    const slot = pointers + WORD * INODE.attributes
    if (type === FILE_TYPE.directory) {
      message.u16(at + INODE.tag, ATTRIBUTES.dir)
      const child = folder.length === 0 ? name : Buffer.concat([folder, SLASH, name])
      message.text(message.struct(slot, 0, 1) + WORD * SUB_DIR.key, Buffer.from(this.#keyOf(child)))
    } else if (type === FILE_TYPE.file) {
      message.u16(at + INODE.tag, ATTRIBUTES.file)
      this.#writeFile(message.struct(slot, STRUCTS.file.data, STRUCTS.file.pointers), row)
    } else if (type === FILE_TYPE.link) {
      message.u16(at + INODE.tag, ATTRIBUTES.link)
      message.text(message.struct(slot, 0, 1) + WORD * LINK.target, rows.target(row))
    } else {
      message.u16(at + INODE.tag, ATTRIBUTES.special)
      const special = message.struct(slot, STRUCTS.special.data, STRUCTS.special.pointers)
      message.u16(special + SPECIAL.type, SPECIAL_OF.get(type) ?? SPECIAL_TYPE.unknown)
      message.data(special + STRUCTS.special.data * WORD + WORD * SPECIAL.data, this.#device(row))
    }
  }

  #writeFile(at: number, row: number): void {
    const message = this.#message
    message.u16(at + FILE.blockSize, BLOCK_SIZE_UNITS)
    const count = this.#rows.blockCount(row)
    const { pointers } = STRUCTS.fileBlock
    let block = message.structs(at + STRUCTS.file.data * WORD + WORD * FILE.blocks, count, 0, pointers)
    for (let number = 0; number < count; number += 1) {
      this.#rows.copyBlock(row, number, 0, this.#hash, 0)
      message.data(block + WORD * FILE_BLOCK.hash, this.#hash)
      this.#rows.copyBlock(row, number, 1, this.#hash, 0)
      message.data(block + WORD * FILE_BLOCK.key, this.#hash)
      block += pointers * WORD
    }
  }

  #device(row: number): Buffer {
    const type = this.#rows.type(row)
    if (type !== FILE_TYPE.block && type !== FILE_TYPE.character) return NOTHING
    const rdev = this.#rows.rdev(row)
    return Buffer.from(`${(rdev >>> 8) & 0xfff},${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`)
  }

  #acl(row: number): string {
    return this.#acls.key(this.#rows.mode(row) & 0o7777, this.#rows.uid(row), this.#rows.gid(row))
  }

  #size(row: number): number {
    return this.#rows.tree.columns.size[this.#rows.source(row)] ?? 0
  }

  /** What the format's 32 bits can hold: 1970 to 2106. */
  #seconds(column: 'mtime' | 'ctime', row: number): number {
    const value = this.#rows.tree.columns[column][this.#rows.source(row)] ?? 0
    return Math.min(Math.max(value, 0), U32_MAX)
  }

  #pathOf(row: number): Buffer {
    if (row === 0) return EMPTY
    const parts: Buffer[] = []
    for (let at = row; at !== 0; at = this.#rows.order.parent[at] ?? 0) {
      if (parts.length > 0) parts.push(SLASH)
      parts.push(this.#rows.name(at))
    }
    return Buffer.concat(parts.reverse())
  }
}
