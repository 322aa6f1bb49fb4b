import { isUtf8 } from 'node:buffer'
import type { DatabaseSync } from 'node:sqlite'
import { LIMITS } from '../base/index.ts'
import { TemporaryFile } from '../system/index.ts'
import { BulkInsert } from './bulk-insert.ts'
import { FILE_TYPE, isKnownType } from './file-type.ts'
import { EXTENSION_TABLES, FL_INDEXES, FL_TABLES } from './fl-schema.ts'
import { fixHeader, newDatabase } from './sqlite-file.ts'
import { checkXattr } from './xattr-rules.ts'

export interface FlInode {
  /** Inode number of the folder; 0 for the root. */
  parent: number
  /** As bytes; the root's is not used. */
  name: Buffer
  size: number
  uid: number
  gid: number
  /** With the type bits. */
  mode: number
  /** As `stat` gives it; 0 where there is no device. */
  rdev: number
  /** Seconds; a safe integer. */
  ctime: number
  mtime: number
  /** 0 to 999999999. */
  ctimeNs?: number
  mtimeNs?: number
  /** Of a symbolic link. */
  target?: Buffer
  xattrs?: readonly { name: Buffer; value: Buffer }[]
  /** The inode that this is another name of: it is not itself such a name. */
  leader?: number
}

type ExtensionTable = keyof typeof EXTENSION_TABLES

const ROOT_NAME = '/'
const HASH_BYTES = 32

/**
 * Writes an fl archive: the root first, parents before their children, blocks of a file in order. The same calls give
 * the same bytes. Nothing is at `path` before `finish`; `abort` leaves nothing behind. Wrong calls throw RangeError.
 */
export class FlWriter {
  readonly #file: TemporaryFile
  readonly #database: DatabaseSync
  readonly #inode: BulkInsert
  readonly #extra: BulkInsert
  readonly #block: BulkInsert
  readonly #extensions = new Map<ExtensionTable, BulkInsert>()
  /** Inode number less 1: folder, other, or another name of something. */
  #kinds = new Uint8Array(1024)
  #count = 0
  #open = true

  constructor(path: string) {
    this.#file = new TemporaryFile(path)
    this.#database = newDatabase(this.#file.path)
    try {
      this.#database.exec(FL_TABLES)
      this.#inode = new BulkInsert(this.#database, 'inode', 10)
      this.#extra = new BulkInsert(this.#database, 'extra', 2)
      this.#block = new BulkInsert(this.#database, 'block', 3)
    } catch (error) {
      this.abort()
      throw error
    }
  }

  /** Returns the inode's number: 1 for the root, then one more each. */
  addInode(inode: FlInode): number {
    this.#checkOpen()
    this.#checkInode(inode)
    const ino = this.#count + 1
    const isRoot = ino === 1
    const { name, size, uid, gid, mode, rdev, ctime, mtime, ctimeNs = 0, mtimeNs = 0 } = inode
    const text = isRoot ? ROOT_NAME : name.toString('utf8')
    this.#inode.add(ino, inode.parent, text, size, uid, gid, mode, rdev, ctime, mtime)
    if (!isRoot && !isUtf8(name)) this.#extension('x_name', 2).add(ino, Buffer.from(name))
    if (mtimeNs !== 0 || ctimeNs !== 0) this.#extension('x_time', 3).add(ino, mtimeNs, ctimeNs)
    if (inode.target !== undefined) this.#extra.add(ino, Buffer.from(inode.target))
    if (inode.leader !== undefined) this.#extension('x_link', 2).add(ino, inode.leader)
    for (const xattr of inode.xattrs ?? []) {
      this.#extension('x_xattr', 3).add(ino, Buffer.from(xattr.name), Buffer.from(xattr.value))
    }
    this.#remember(inode)
    return ino
  }

  /** One more block of a file. Those of a leader are also its other names': add them once. */
  addBlock(ino: number, id: Uint8Array, key: Uint8Array): void {
    this.#checkOpen()
    if (this.#kinds[ino - 1] !== KIND.file)
      throw new RangeError(`Cannot add a block: inode ${ino} is no file of its own`)
    if (id.length !== HASH_BYTES || key.length !== HASH_BYTES) {
      throw new RangeError(`Cannot add a block: its id and key do not have ${HASH_BYTES} bytes`)
    }
    this.#block.add(ino, Buffer.from(id), Buffer.from(key))
  }

  /** Stores are asked in the order of their routes. `start` and `end` are the first and last first byte of ids. */
  addRoute(start: number, end: number, url: string): void {
    this.#checkOpen()
    if (!isByte(start) || !isByte(end))
      throw new RangeError(`Cannot add a route: ${start} to ${end} is not in 0 to 255`)
    this.#database.prepare('INSERT INTO route VALUES (?, ?, ?)').run(start, end, url)
  }

  addTag(key: string, value: string): void {
    this.#checkOpen()
    this.#database
      .prepare('INSERT INTO tag VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
      .run(key, value)
  }

  /** True where something was added that rfs's own tables have no place for. */
  get hasExtensions(): boolean {
    return this.#extensions.size > 0
  }

  /** Completes the archive and publishes it. */
  finish(): void {
    this.#checkOpen()
    if (this.#count === 0) throw new RangeError('Cannot finish an archive without root')
    try {
      for (const table of [this.#inode, this.#extra, this.#block, ...this.#extensions.values()]) table.flush()
      this.#database.exec(FL_INDEXES)
      if (this.#extensions.has('x_link')) {
        this.#database.exec(
          'INSERT INTO block SELECT x_link.ino, id, key FROM x_link CROSS JOIN block ON block.ino = x_link.leader ORDER BY x_link.ino, block.rowid',
        )
      }
      this.#database.exec('COMMIT')
      this.#database.close()
      fixHeader(this.#file.path)
      this.#file.publish()
      this.#open = false
    } finally {
      this.abort()
    }
  }

  /** Gives up; does nothing after `finish`. Idempotent. */
  abort(): void {
    if (!this.#open) return
    this.#open = false
    if (this.#database.isOpen) this.#database.close()
    this.#file[Symbol.dispose]()
  }

  [Symbol.dispose](): void {
    this.abort()
  }

  #checkOpen(): void {
    if (!this.#open) throw new RangeError('Cannot add to an archive that is finished')
  }

  #checkInode(inode: FlInode): void {
    const { parent, leader } = inode
    const isRoot = this.#count === 0
    const type = inode.mode & FILE_TYPE.mask
    let why = whyNot(inode, isRoot)
    if (why === undefined && isRoot && (parent !== 0 || type !== FILE_TYPE.directory)) why = 'the root is a folder in 0'
    if (why === undefined && !isRoot && this.#kinds[parent - 1] !== KIND.folder) why = `inode ${parent} is no folder`
    if (why === undefined && leader !== undefined) {
      const kind = this.#kinds[leader - 1] ?? KIND.none
      if (kind !== KIND.file && kind !== KIND.other) why = `inode ${leader} cannot have another name`
    }
    if (why !== undefined) throw new RangeError(`Cannot add inode ${this.#count + 1}: ${why}`)
  }

  #remember(inode: FlInode): void {
    if (this.#count === this.#kinds.length) {
      const grown = new Uint8Array(this.#kinds.length * 2)
      grown.set(this.#kinds)
      this.#kinds = grown
    }
    const type = inode.mode & FILE_TYPE.mask
    let kind: number = type === FILE_TYPE.directory ? KIND.folder : type === FILE_TYPE.file ? KIND.file : KIND.other
    if (inode.leader !== undefined) kind = KIND.link
    this.#kinds[this.#count] = kind
    this.#count += 1
  }

  #extension(table: ExtensionTable, columns: number): BulkInsert {
    let insert = this.#extensions.get(table)
    if (insert === undefined) {
      this.#database.exec(EXTENSION_TABLES[table])
      this.#extensions.set(table, (insert = new BulkInsert(this.#database, table, columns)))
    }
    return insert
  }
}

const KIND = { none: 0, folder: 1, file: 2, other: 3, link: 4 } as const
const SLASH = 0x2f
const DOTS: readonly Buffer[] = [Buffer.from('.'), Buffer.from('..')]

function whyNot(inode: FlInode, isRoot: boolean): string | undefined {
  const { name, target, mode, size, ctimeNs = 0, mtimeNs = 0 } = inode
  if (!isKnownType(mode) || !isWithin(mode, 0, 0xffff)) return `mode ${mode.toString(8)} has no known type`
  if (!isRoot && (name.length === 0 || name.length > LIMITS.nameBytesMax)) return 'the name has 0 bytes, or over 255'
  if (!isRoot && (name.includes(0) || name.includes(SLASH) || DOTS.some((dots) => dots.equals(name)))) {
    return 'the name is "." or "..", or has a slash or a NUL'
  }
  if (((mode & FILE_TYPE.mask) === FILE_TYPE.link) !== (target !== undefined)) return 'a target is for symbolic links'
  if (target !== undefined && (!isWithin(target.length, 1, LIMITS.linkTargetBytesMax) || target.includes(0))) {
    return 'the target is empty, too long, or has a NUL'
  }
  if (!isWithin(size, 0, LIMITS.fileBytesMax)) return `size ${size} is out of range`
  if (!isWithin(inode.uid, 0, 0xffff_ffff) || !isWithin(inode.gid, 0, 0xffff_ffff)) return 'the owner is out of range'
  if (!isWithin(inode.rdev, 0, 0xffff_ffff)) return `device ${inode.rdev} is out of range`
  if (!Number.isSafeInteger(inode.ctime) || !Number.isSafeInteger(inode.mtime)) return 'a time is out of range'
  if (!isWithin(ctimeNs, 0, 999_999_999) || !isWithin(mtimeNs, 0, 999_999_999)) return 'nanoseconds are out of range'
  for (const xattr of inode.xattrs ?? []) {
    const why = checkXattr(xattr.name, xattr.value)
    if (why !== undefined) return why
  }
  return undefined
}

function isWithin(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most
}

function isByte(value: number): boolean {
  return isWithin(value, 0, 255)
}
