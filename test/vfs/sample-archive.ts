import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { FlWriter } from '../../lib/flist/index.ts'
import { encodeBlock, prepareCodec } from '../../lib/store/index.ts'

/** One entry as it must appear, told apart from everything in `lib`. */
export interface Expected {
  /** Bytes below the root; the root's is empty. */
  readonly path: Buffer
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  readonly mtime: number
  readonly mtimeNs: number
  readonly ctime: number
  readonly ctimeNs: number
  readonly content: Buffer | undefined
  readonly target: Buffer | undefined
  readonly xattrs: readonly { name: Buffer; value: Buffer }[]
  /** Path of the entry that this is another name of. */
  readonly leader: string | undefined
}

export type EntryWords = Partial<Omit<Expected, 'path' | 'leader' | 'target'>> & {
  readonly leader?: string
  readonly target?: Buffer | string
}

export interface SampleArchive {
  readonly archivePath: string
  readonly storeDir: string
  readonly entries: readonly Expected[]
}

const BLOCK = 512 * 1024
export const S_IFMT = 0o170000
export const DIR = 0o040755
export const FILE = 0o100644
const LINK = 0o120777

/** Bytes that are the same each time and in which no block is like another. */
export function noise(seed: string, bytes: number): Buffer {
  const out = Buffer.alloc(bytes)
  for (let at = 0, turn = 0; at < bytes; turn += 1) {
    at += createHash('sha512').update(`${seed}:${turn}`).digest().copy(out, at)
  }
  return out
}

/** Collects entries, parents first, then writes archive and store. */
export class ArchiveMaker {
  readonly #entries = new Map<string, Expected>()

  constructor(root: EntryWords = {}) {
    this.add('', DIR, root)
  }

  /** `path` as latin1: any byte can be said. */
  add(path: string, mode: number, words: EntryWords = {}): this {
    const { target } = words
    this.#entries.set(path, {
      path: Buffer.from(path, 'latin1'),
      mode,
      uid: words.uid ?? 0,
      gid: words.gid ?? 0,
      rdev: words.rdev ?? 0,
      mtime: words.mtime ?? 1_700_000_000,
      mtimeNs: words.mtimeNs ?? 0,
      ctime: words.ctime ?? 1_700_000_001,
      ctimeNs: words.ctimeNs ?? 0,
      content: words.content ?? ((mode & S_IFMT) === 0o100000 ? Buffer.alloc(0) : undefined),
      target: typeof target === 'string' ? Buffer.from(target) : target,
      xattrs: words.xattrs ?? [],
      leader: words.leader,
    })
    return this
  }

  /** Another name of a file that was added before. */
  link(path: string, leader: string): this {
    const of = this.#entries.get(leader)
    if (of === undefined) throw new RangeError(`no entry ${leader}`)
    this.#entries.set(path, { ...of, path: Buffer.from(path, 'latin1'), leader })
    return this
  }

  /** Writes `<dir>/sample.fl` and `<dir>/store`, its route. */
  async write(dir: string): Promise<SampleArchive> {
    await prepareCodec()
    const archivePath = join(dir, 'sample.fl')
    const storeDir = join(dir, 'store')
    mkdirSync(storeDir)
    const writer = new FlWriter(archivePath)
    const inos = new Map<string, number>()
    for (const [path, entry] of this.#entries) {
      const slash = path.lastIndexOf('/')
      const parent = path === '' ? 0 : (inos.get(path.slice(0, Math.max(slash, 0))) ?? -1)
      const leader = entry.leader === undefined ? undefined : (inos.get(entry.leader) ?? -1)
      const ino = writer.addInode({
        parent,
        name: entry.path.subarray(slash + 1),
        size: sizeOf(entry),
        uid: entry.uid,
        gid: entry.gid,
        mode: entry.mode,
        rdev: entry.rdev,
        ctime: entry.ctime,
        mtime: entry.mtime,
        ctimeNs: entry.ctimeNs,
        mtimeNs: entry.mtimeNs,
        ...(entry.target === undefined ? {} : { target: entry.target }),
        ...(leader === undefined ? { xattrs: entry.xattrs } : { leader }),
      })
      inos.set(path, ino)
      if (leader === undefined && entry.content !== undefined) addBlocks(writer, ino, entry.content, storeDir)
    }
    writer.addRoute(0, 255, `dir:${storeDir}`)
    writer.finish()
    return { archivePath, storeDir, entries: [...this.#entries.values()] }
  }
}

function sizeOf(entry: Expected): number {
  if (entry.content !== undefined) return entry.content.length
  if (entry.target !== undefined) return entry.target.length
  return (entry.mode & S_IFMT) === 0o040000 ? 4096 : 0
}

function addBlocks(writer: FlWriter, ino: number, content: Buffer, storeDir: string): void {
  for (let at = 0; at < content.length; at += BLOCK) {
    const { id, key, stored } = encodeBlock('fl', content.subarray(at, at + BLOCK))
    const hex = id.toString('hex')
    mkdirSync(join(storeDir, hex.slice(0, 2)), { recursive: true })
    writeFileSync(join(storeDir, hex.slice(0, 2), hex), stored)
    writer.addBlock(ino, id, key)
  }
}

/** `version 2, flags 1` and one ACL entry a tag: `user::rw-, user:1000:r--, group::r--, mask::r--, other::r--`. */
const ACL = Buffer.from(
  '02000000' + '01000600ffffffff' + '02000400e8030000' + '04000400ffffffff' + '10000400ffffffff' + '20000400ffffffff',
  'hex',
)
/** VFS_CAP_REVISION_2 with the effective flag: CAP_NET_RAW permitted. */
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex')

export const DEEP_LEVELS = 60
export const MANY = 1500

/** Everything that can be in a tree. `program` is a binary to execute. */
export function everything(program = process.execPath): ArchiveMaker {
  const text = (value: string): Buffer => Buffer.from(value)
  const maker = new ArchiveMaker({ mtime: 1_500_000_000, mtimeNs: 7, uid: 1, gid: 2 })
  maker.add('files', DIR)
  for (const [name, bytes] of FILE_SIZES) maker.add(`files/${name}`, FILE, { content: noise(name, bytes) })
  maker.add('links', DIR, { mtime: 1_600_000_000, mtimeNs: 999_999_999, ctime: 1_600_000_001, ctimeNs: 1 })
  maker.add('links/first', 0o100600, { content: noise('linked', 1000), uid: 70_000, gid: 4_294_967_294 })
  maker.link('links/second', 'links/first').link('files/third', 'links/first')
  maker.add('links/relative', LINK, { target: '../files/one' })
  maker.add('links/broken', LINK, { target: Buffer.concat([text('/nowhere/'), Buffer.of(0xff, 0xfe)]) })
  maker.add('links/long', LINK, { target: Buffer.alloc(4095, 'x') })
  maker.add('times', DIR)
  maker.add('times/before-1970', FILE, { mtime: -86_400, mtimeNs: 5, ctime: -2_000_000_000 })
  maker.add('times/1901', FILE, { mtime: -2_147_483_649, ctime: -1 })
  maker.add('times/after-2038', FILE, { mtime: 2_147_483_648, ctime: 2_147_483_648 })
  maker.add('times/after-2106', FILE, { mtime: 4_294_967_296 + 12_345, mtimeNs: 123_456_789, ctime: 8_589_934_592 })
  maker.add('times/zero', FILE, { mtime: 0, ctime: 0 })
  maker.add('special', DIR)
  maker.add('special/null', 0o020666, { rdev: 0x103 })
  maker.add('special/large-minor', 0o060640, { rdev: (0x12 << 8) | 0x34 | (0x567 << 20) })
  maker.add('special/fifo', 0o010600).add('special/socket', 0o140755)
  maker.add('special/setuid', 0o104755, { content: text('#!/bin/sh\n') })
  maker.add('special/setgid', 0o102755).add('special/sticky', 0o041777).add('special/none', 0o100000)
  maker.add('xattrs', DIR, { xattrs: [{ name: text('user.on-a-folder'), value: text('yes') }] })
  maker.add('xattrs/many', FILE, {
    xattrs: [
      { name: text('user.empty'), value: Buffer.alloc(0) },
      { name: text('user.bytes'), value: Buffer.of(0, 1, 255, 254) },
      { name: text('user.large'), value: noise('xattr', 60_000) },
      { name: text('trusted.hidden'), value: text('root sees this') },
    ],
  })
  maker.link('xattrs/many-linked', 'xattrs/many')
  maker.add('xattrs/acl', 0o100644, { xattrs: [{ name: text('system.posix_acl_access'), value: ACL }] })
  maker.add('xattrs/capability', 0o100755, { xattrs: [{ name: text('security.capability'), value: CAPABILITY }] })
  maker.add('names', DIR)
  for (const name of NAMES) maker.add(`names/${name}`, FILE, { content: Buffer.from(name, 'latin1') })
  maker.add('many', DIR)
  for (let nth = 0; nth < MANY; nth += 1) maker.add(`many/entry-${nth}`, nth % 3 === 0 ? 0o040700 : FILE)
  maker.add('empty', DIR)
  let deep = 'deep'
  maker.add(deep, DIR)
  for (let level = 1; level < DEEP_LEVELS; level += 1) maker.add((deep += `/${level}`), DIR)
  maker.add(`${deep}/bottom`, FILE, { content: text('down here') })
  maker.add('program', 0o100755, { content: readFileSync(program) })
  return maker
}

export const FILE_SIZES: readonly (readonly [string, number])[] = [
  ['zero', 0],
  ['one', 1],
  ['block-less-1', BLOCK - 1],
  ['block', BLOCK],
  ['block-plus-1', BLOCK + 1],
  ['three-blocks', 2 * BLOCK + 12_345],
]

const NAMES: readonly string[] = [
  'a'.repeat(255),
  '\xff\xfe\x80 not utf-8',
  Buffer.from('grüße-日本').toString('latin1'),
  ' space ',
  'new\nline',
  '-dash',
  '...',
  '.hidden',
  'B',
  'b',
  '\x01',
]
