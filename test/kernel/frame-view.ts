import {
  ATTR,
  ATTR_OUT,
  DIRENT,
  DIRENTPLUS,
  ENTRY_OUT,
  GETXATTR_IN,
  READ_IN,
  STATFS_OUT,
} from '../../lib/wire/index.ts'
import type { Attributes, DirectoryEntry, TreeView } from '../vfs/filesystem-suite.ts'
import type { FrameDriver } from './frame-driver.ts'

const ROOT = 1n

/** What a kernel would see: paths walked by LOOKUP, folders paged, reads in pieces of at most 1 MiB. */
export class FrameView implements TreeView {
  readonly #driver: FrameDriver
  readonly #plus: boolean
  /** Bytes of one page of a folder. */
  readonly #page: number

  constructor(driver: FrameDriver, plus = true, page = 4096) {
    this.#driver = driver
    this.#plus = plus
    this.#page = page
  }

  async lstat(path: Buffer): Promise<Attributes> {
    return attributes(this.#getattr(this.#walk(path)))
  }

  async readdir(path: Buffer): Promise<DirectoryEntry[]> {
    const found: DirectoryEntry[] = []
    const node = this.#walk(path)
    const head = this.#plus ? DIRENTPLUS.dirent : 0
    let cookie = 0n
    for (;;) {
      const page = this.#driver.ask(this.#plus ? 'readdirplus' : 'readdir', node, readIn(cookie, this.#page))
      if (page.length === 0) break
      for (let at = 0; at < page.length;) {
        const { entry, off, next } = direntAt(page, at + head)
        if (this.#plus) checkPlus(page, at, entry)
        found.push(entry)
        cookie = off
        at = next
      }
    }
    if (found[0]?.name.toString() !== '.' || found[1]?.name.toString() !== '..') throw new Error('no dots')
    if (found[0].ino !== node) throw new Error('`.` is another')
    return found.slice(2)
  }

  async readlink(path: Buffer): Promise<Buffer> {
    return this.#driver.ask('readlink', this.#walk(path))
  }

  async read(path: Buffer, offset: number, bytes: number): Promise<Buffer> {
    return this.#driver.ask('read', this.#walk(path), readIn(BigInt(offset), bytes))
  }

  async listxattr(path: Buffer): Promise<Buffer[]> {
    const list = this.#sized('listxattr', path, Buffer.alloc(0))
    const names: Buffer[] = []
    for (let at = 0; at < list.length;) {
      const end = list.indexOf(0, at)
      names.push(list.subarray(at, end))
      at = end + 1
    }
    return names
  }

  async getxattr(path: Buffer, name: Buffer): Promise<Buffer> {
    return this.#sized('getxattr', path, Buffer.concat([name, Buffer.of(0)]))
  }

  async statfs(): ReturnType<TreeView['statfs']> {
    const out = this.#driver.ask('statfs', ROOT)
    return {
      files: out.readBigUInt64LE(STATFS_OUT.files),
      blocks: out.readBigUInt64LE(STATFS_OUT.blocks),
      blockBytes: out.readUInt32LE(STATFS_OUT.frsize),
      free: out.readBigUInt64LE(STATFS_OUT.bfree) + out.readBigUInt64LE(STATFS_OUT.ffree),
      nameBytesMax: out.readUInt32LE(STATFS_OUT.namelen),
    }
  }

  /** First how many, then the bytes; too little room is ERANGE. */
  #sized(op: 'getxattr' | 'listxattr', path: Buffer, rest: Buffer): Buffer {
    const node = this.#walk(path)
    const ask = (room: number): Buffer => {
      const head = Buffer.alloc(GETXATTR_IN.size)
      head.writeUInt32LE(room)
      return this.#driver.ask(op, node, Buffer.concat([head, rest]))
    }
    const bytes = ask(0).readUInt32LE()
    if (bytes > 1) {
      try {
        ask(bytes - 1)
        throw new Error('no ERANGE')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ERANGE') throw error
      }
    }
    return bytes === 0 ? Buffer.alloc(0) : ask(bytes)
  }

  #walk(path: Buffer): bigint {
    let node = ROOT
    if (path.length === 0) return node
    for (const part of path.toString('latin1').split('/')) {
      const out = this.#driver.ask('lookup', node, Buffer.from(`${part}\0`, 'latin1'))
      node = out.readBigUInt64LE(ENTRY_OUT.nodeid)
      if (node === 0n) throw Object.assign(new Error(part), { code: 'ENOENT' })
      const attr = out.subarray(ENTRY_OUT.attr)
      if (!attr.equals(this.#getattr(node))) throw new Error(`LOOKUP and GETATTR differ for ${part}`)
    }
    return node
  }

  #getattr(node: bigint): Buffer {
    return this.#driver.ask('getattr', node, Buffer.alloc(16)).subarray(ATTR_OUT.attr)
  }
}

function readIn(offset: bigint, bytes: number): Buffer {
  const body = Buffer.alloc(READ_IN.size)
  body.writeBigUInt64LE(offset, READ_IN.offset)
  body.writeUInt32LE(bytes, READ_IN.bytes)
  return body
}

function direntAt(page: Buffer, at: number): { entry: DirectoryEntry; off: bigint; next: number } {
  const nameBytes = page.readUInt32LE(at + DIRENT.namelen)
  const end = at + DIRENT.size + nameBytes
  const next = Math.ceil(end / DIRENT.align) * DIRENT.align
  if (page.subarray(end, next).some((byte) => byte !== 0)) throw new Error('padding is not zero')
  const entry = {
    name: page.subarray(at + DIRENT.size, end),
    type: page.readUInt32LE(at + DIRENT.type),
    ino: page.readBigUInt64LE(at + DIRENT.ino),
  }
  return { entry, off: page.readBigUInt64LE(at + DIRENT.off), next }
}

/** The entry before a record is the record's, or none for the dots. */
function checkPlus(page: Buffer, at: number, entry: DirectoryEntry): void {
  const node = page.readBigUInt64LE(at + ENTRY_OUT.nodeid)
  const dots = entry.name.toString() === '.' || entry.name.toString() === '..'
  if (node !== (dots ? 0n : entry.ino)) throw new Error('the entry is another')
  if (!dots && page.readUInt32LE(at + ENTRY_OUT.attr + ATTR.mode) >> 12 !== entry.type) throw new Error('type')
}

/** `struct fuse_attr` as stat(2) shows it. */
export function attributes(attr: Buffer): Attributes {
  const ns = (seconds: number, fraction: number): bigint =>
    attr.readBigInt64LE(seconds) * 1_000_000_000n + BigInt(attr.readUInt32LE(fraction))
  return {
    ino: attr.readBigUInt64LE(ATTR.ino),
    mode: attr.readUInt32LE(ATTR.mode),
    nlink: attr.readUInt32LE(ATTR.nlink),
    uid: attr.readUInt32LE(ATTR.uid),
    gid: attr.readUInt32LE(ATTR.gid),
    rdev: BigInt(attr.readUInt32LE(ATTR.rdev)),
    size: attr.readBigUInt64LE(ATTR.bytes),
    blocks: attr.readBigUInt64LE(ATTR.blocks),
    atimeNs: ns(ATTR.atime, ATTR.atimeNs),
    mtimeNs: ns(ATTR.mtime, ATTR.mtimeNs),
    ctimeNs: ns(ATTR.ctime, ATTR.ctimeNs),
  }
}
