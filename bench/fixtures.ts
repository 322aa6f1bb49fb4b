import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LIMITS } from '../lib/base/index.ts'
import { FlWriter } from '../lib/flist/fl-writer.ts'
import { encodeBlock, prepareCodec } from '../lib/store/index.ts'
import { fakeHash, fillBlock } from './content.ts'
import { writeHugeV1 } from './huge-v1.ts'
import { EMPTY_PER_FOLDER, FILES_PER_FOLDER, type Scale, SMALL_BYTES } from './scale.ts'
import { shell, which } from './shell.ts'

/** Change it when what is made changes: what lies there of another version is made anew. */
const VERSION = 3
const MTIME = 1_700_000_000
const DIR = 0o40755
const FILE = 0o100644

/** Where everything lies that the benchmark reads. */
export interface Fixtures {
  readonly work: string
  /** The trees as ordinary files: `small/` and `big/`. */
  readonly native: string
  /** The same trees as an image, where mkfs.erofs is installed. */
  readonly erofs: string | undefined
  readonly smallArchive: string
  readonly bigArchive: string
  readonly linkArchive: string
  readonly hugeArchive: string
  readonly hugeV1Archive: string
  /** A dir store with the blocks of the small and big trees. */
  readonly store: string
  readonly linkStore: string
}

/** Makes what is not there yet. Reused between runs. */
export async function prepareFixtures(scale: Scale, say: (text: string) => void): Promise<Fixtures> {
  const work = join(process.env['FLISTFS_BENCH_DIR'] ?? join(tmpdir(), 'flistfs-bench'), scale.name)
  mkdirSync(work, { recursive: true })
  const at = (name: string): string => join(work, name)
  const fixtures: Fixtures = {
    work,
    native: at('native'),
    erofs: which('mkfs.erofs') === undefined ? undefined : at('native.erofs'),
    smallArchive: at('small.fl'),
    bigArchive: at('big.fl'),
    linkArchive: at('link.fl'),
    hugeArchive: at('huge.fl'),
    hugeV1Archive: at('huge.flist'),
    store: at('store'),
    linkStore: at('link-store'),
  }
  const once = async (name: string, make: () => Promise<void> | void): Promise<void> => {
    const mark = at(`.${name}.${VERSION}`)
    if (existsSync(mark)) return
    say(`making ${name}`)
    await make()
    writeFileSync(mark, '')
  }
  await prepareCodec()
  await once('small tree', () => makeSmall(fixtures, scale))
  await once('big file', () =>
    makeBig(fixtures.bigArchive, fixtures.store, join(fixtures.native, 'big'), scale.bigBytes),
  )
  await once('link file', () => makeBig(fixtures.linkArchive, fixtures.linkStore, at('link'), scale.linkBytes))
  await once('huge archive', () => makeHuge(fixtures.hugeArchive, scale.hugeFolders))
  await once('huge v1 archive', () => writeHugeV1(fixtures.hugeV1Archive, scale.hugeFolders))
  if (fixtures.erofs !== undefined) {
    const image = fixtures.erofs
    await once('EROFS image', () => {
      rmSync(image, { force: true })
      shell(`mkfs.erofs --quiet ${image} ${fixtures.native}`)
    })
  }
  return fixtures
}

class TreeMaker {
  readonly writer: FlWriter
  readonly #store: string
  readonly #shards = new Set<string>()

  constructor(archive: string, store: string) {
    rmSync(archive, { force: true })
    mkdirSync(store, { recursive: true })
    this.writer = new FlWriter(archive)
    this.#store = store
    this.writer.addRoute(0, 255, `dir://${store}`)
    this.add(0, '', DIR, 0)
  }

  add(parent: number, name: string, mode: number, size: number): number {
    const times = { ctime: MTIME, mtime: MTIME }
    return this.writer.addInode({ parent, name: Buffer.from(name), size, uid: 0, gid: 0, mode, rdev: 0, ...times })
  }

  block(ino: number, plain: Buffer): void {
    const { id, key, stored } = encodeBlock('fl', plain)
    this.writer.addBlock(ino, id, key)
    const hex = id.toString('hex')
    const shard = join(this.#store, hex.slice(0, 2))
    if (!this.#shards.has(shard)) mkdirSync(shard, { recursive: true })
    this.#shards.add(shard)
    writeFileSync(join(shard, hex), stored)
  }
}

function makeSmall(fixtures: Fixtures, scale: Scale): void {
  const maker = new TreeMaker(fixtures.smallArchive, fixtures.store)
  const root = join(fixtures.native, 'small')
  rmSync(root, { recursive: true, force: true })
  mkdirSync(root, { recursive: true })
  const plain = Buffer.alloc(SMALL_BYTES)
  for (let folder = 0; folder < scale.smallFolders; folder += 1) {
    const name = smallFolder(folder)
    const ino = maker.add(1, name, DIR, 0)
    mkdirSync(join(root, name))
    for (let nth = 0; nth < FILES_PER_FOLDER; nth += 1) {
      fillBlock(plain, folder * FILES_PER_FOLDER + nth)
      maker.block(maker.add(ino, `file-${nth}.dat`, FILE, SMALL_BYTES), plain)
      writeFileSync(join(root, name, `file-${nth}.dat`), plain)
    }
  }
  for (let folder = 0; folder < scale.emptyFolders; folder += 1) {
    const name = `empty-${String(folder).padStart(4, '0')}`
    const ino = maker.add(1, name, DIR, 0)
    mkdirSync(join(root, name))
    for (let nth = 0; nth < EMPTY_PER_FOLDER; nth += 1) {
      maker.add(ino, `file-${nth}`, FILE, 0)
      writeFileSync(join(root, name, `file-${nth}`), '')
    }
  }
  maker.writer.finish()
}

export function smallFolder(folder: number): string {
  return `small-${String(folder).padStart(4, '0')}`
}

function makeBig(archive: string, store: string, root: string, bytes: number): void {
  const maker = new TreeMaker(archive, store)
  rmSync(root, { recursive: true, force: true })
  mkdirSync(root, { recursive: true })
  const ino = maker.add(1, 'big.bin', FILE, bytes)
  const plain = Buffer.alloc(LIMITS.blockBytesMax)
  for (let at = 0; at < bytes; at += plain.length) {
    fillBlock(plain, 0x4000_0000 + at / plain.length)
    maker.block(ino, plain)
    writeFileSync(join(root, 'big.bin'), plain, { flag: 'a' })
  }
  maker.writer.finish()
}

/** A tree that is only looked at: its blocks are in no store. One file in 99 has two blocks. */
function makeHuge(archive: string, folders: number): void {
  const maker = new TreeMaker(archive, join(archive, '..', 'no-store'))
  let blocks = 0
  for (let folder = 0; folder < folders; folder += 1) {
    const ino = maker.add(1, `folder-${folder}`, DIR, 0)
    for (let nth = 0; nth < 99; nth += 1) {
      const isLong = nth === 50
      const file = maker.add(ino, `some-file-${nth}.txt`, FILE, isLong ? LIMITS.blockBytesMax + 4096 : 4096)
      for (let block = 0; block < (isLong ? 2 : 1); block += 1) {
        maker.writer.addBlock(file, fakeHash(32, blocks, 0), fakeHash(32, blocks, 1))
        blocks += 1
      }
    }
  }
  maker.writer.finish()
}
