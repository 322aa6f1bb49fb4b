import {
  lstatSync,
  openSync,
  closeSync,
  readdirSync,
  readlinkSync,
  readSync,
  mkdirSync,
  writeFileSync,
  existsSync,
} from 'node:fs'
import { join } from 'node:path'
import { LIMITS } from '../../lib/base/index.ts'
import { type FlInode, FlWriter } from '../../lib/flist/index.ts'
import { encodeBlock, prepareCodec } from '../../lib/store/index.ts'

export type Xattrs = ReadonlyMap<string, readonly { name: Buffer; value: Buffer }[]>

const SLASH = Buffer.from('/')

/**
 * Packs a tree on disk as tests need it: every attribute the format and its extension tables carry, blocks into a folder.
 * `xattrs` are by hex path below `root`, since Node cannot read them. Returns the number of inodes and of different blocks.
 */
export async function packTree(
  root: string,
  archive: string,
  store: string,
  xattrs: Xattrs,
): Promise<{ entries: number; blocks: number }> {
  await prepareCodec()
  const packer = new Packer(new FlWriter(archive), store, xattrs)
  packer.add(Buffer.from(root), Buffer.alloc(0), 0)
  packer.writer.addRoute(0, 255, `dir://${store}`)
  packer.writer.finish()
  return { entries: packer.entries, blocks: packer.blocks }
}

class Packer {
  readonly writer: FlWriter
  readonly #store: string
  readonly #xattrs: Xattrs
  /** By device and inode: the first name of a file that has several. */
  readonly #leaders = new Map<string, number>()
  entries = 0
  blocks = 0

  constructor(writer: FlWriter, store: string, xattrs: Xattrs) {
    this.writer = writer
    this.#store = store
    this.#xattrs = xattrs
  }

  add(path: Buffer, below: Buffer, parent: number): void {
    const stat = lstatSync(path, { bigint: true })
    const key = `${stat.dev}.${stat.ino}`
    const leader = stat.isDirectory() ? undefined : this.#leaders.get(key)
    const slash = below.lastIndexOf(0x2f)
    const inode: FlInode = {
      parent,
      name: below.subarray(slash + 1),
      size: Number(stat.size),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mode: Number(stat.mode),
      rdev: Number(stat.rdev),
      ...timesOf(stat.ctimeNs, stat.mtimeNs),
      xattrs: leader === undefined ? (this.#xattrs.get(below.toString('hex')) ?? []) : [],
      ...(stat.isSymbolicLink() ? { target: readlinkSync(path, 'buffer') } : {}),
      ...(leader === undefined ? {} : { leader }),
    }
    const ino = this.writer.addInode(inode)
    this.entries += 1
    if (leader !== undefined) return
    if (stat.nlink > 1n) this.#leaders.set(key, ino)
    if (stat.isFile()) this.#addBlocks(path, ino)
    if (!stat.isDirectory()) return
    for (const name of readdirSync(path, 'buffer')) {
      this.add(Buffer.concat([path, SLASH, name]), below.length === 0 ? name : Buffer.concat([below, SLASH, name]), ino)
    }
  }

  #addBlocks(path: Buffer, ino: number): void {
    const fd = openSync(path, 'r')
    const buffer = Buffer.allocUnsafe(LIMITS.blockBytesMax)
    try {
      for (;;) {
        let bytes = 0
        while (bytes < buffer.length) {
          const got = readSync(fd, buffer, bytes, buffer.length - bytes, null)
          if (got === 0) break
          bytes += got
        }
        if (bytes === 0) return
        const { id, key, stored } = encodeBlock('fl', buffer.subarray(0, bytes))
        if (putBlock(this.#store, id, stored)) this.blocks += 1
        this.writer.addBlock(ino, id, key)
      }
    } finally {
      closeSync(fd)
    }
  }
}

/** Writes a block where a `dir:` store has it; false where it is already there. */
export function putBlock(store: string, id: Buffer, stored: Buffer): boolean {
  const name = id.toString('hex')
  const path = join(store, name.slice(0, 2), name)
  if (existsSync(path)) return false
  mkdirSync(join(store, name.slice(0, 2)), { recursive: true })
  writeFileSync(path, stored)
  return true
}

/** Whole seconds and what is above them: -0.5 s is -1 s and 500,000,000 ns. */
function timesOf(ctimeNs: bigint, mtimeNs: bigint): Pick<FlInode, 'ctime' | 'ctimeNs' | 'mtime' | 'mtimeNs'> {
  const split = (ns: bigint): [number, number] => {
    const rest = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
    return [Number((ns - rest) / 1_000_000_000n), Number(rest)]
  }
  const [ctime, ctimeRest] = split(ctimeNs)
  const [mtime, mtimeRest] = split(mtimeNs)
  return { ctime, ctimeNs: ctimeRest, mtime, mtimeNs: mtimeRest }
}

/** Packs these files into `<dir>/NAME.fl` with their blocks in `<dir>/NAME.store`. */
export async function packFiles(
  dir: string,
  name: string,
  files: Readonly<Record<string, Buffer>>,
): Promise<{ archive: string; store: string; blocks: number }> {
  const tree = join(dir, `${name}.tree`)
  mkdirSync(tree)
  for (const [file, content] of Object.entries(files)) writeFileSync(join(tree, file), content)
  const [archive, store] = [join(dir, `${name}.fl`), join(dir, `${name}.store`)]
  const { blocks } = await packTree(tree, archive, store, new Map())
  return { archive, store, blocks }
}
