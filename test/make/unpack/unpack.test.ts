import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readXattrs } from '../../../lib/make/file-xattrs.ts'
import { compileArchive, type FlistIndex, hashArchive, openIndex } from '../../../lib/flist/index.ts'
import { type LocalContent, packFolder, unpackTree, type UnpackResult } from '../../../lib/make/index.ts'
import { openReader } from '../../../lib/store/index.ts'
import { setXattr } from '../../../lib/system/index.ts'
import { differ, factsOfFolder } from '../facts.ts'
import { only } from '../../only.ts'

const NEVER = new AbortController().signal
const BLOCK = 512 * 1024
const isRoot = process.getuid?.() === 0 ? false : 'only root gives files away'

interface Packed {
  readonly dir: string
  readonly index: FlistIndex
  readonly local: LocalContent
}

/** Packs what `make` put into `tree`, its blocks in `store`. */
async function packed(t: Test, make: (tree: string) => void, format: 'fl' | 'v1' = 'fl'): Promise<Packed> {
  const dir = t.testdir({ tree: {} })
  make(join(dir, 'tree'))
  const archive = join(dir, `a.${format === 'fl' ? 'fl' : 'flist'}`)
  const stores = [{ start: 0, end: 255, url: 'dir:store' }]
  await packFolder({ source: join(dir, 'tree'), archive, format, stores, baseDir: dir, threads: 1 }, NEVER)
  const digest = await hashArchive(archive, NEVER)
  const indexPath = `${archive}.idx`
  await compileArchive(archive, indexPath, { digest, signal: NEVER })
  const index = openIndex(indexPath, digest)
  t.teardown(() => index.close())
  return { dir, index, local: { indexPath, routes: [{ start: 0, end: 255, folder: join(dir, 'store') }] } }
}

/** Unpacks into `out`; blocks that the threads do not find come from these stores. */
async function unpack({ dir, index, local }: Packed, stores: readonly string[], signal = NEVER): Promise<UnpackResult> {
  const routes = stores.map((name) => ({ start: 0, end: 255, url: `dir:${name}` }))
  await using supply = openReader({ routes, baseDir: dir, timeoutMs: 5000 })
  return await unpackTree({ index, directory: join(dir, 'out'), supply, local }, signal)
}

function sameAsTree(t: Test, { dir, index: { format } }: Packed): void {
  const [tree, out] = ['tree', 'out'].map((name) => factsOfFolder(join(dir, name), { format }))
  t.strictSame(differ(tree!, out!), [])
}

/** Blocks that differ from each other, and are larger than what is packed of them. */
function content(blocks: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length: (blocks * BLOCK) / 64 }, (_, at) => `${seed} ${at}`.padEnd(64)).join(''))
}

/** Files of all kinds of sizes, with holes and further names. */
function various(tree: string): void {
  for (const name of ['few', 'many', 'many/below']) mkdirSync(join(tree, name))
  for (let nth = 0; nth < 300; nth += 1) writeFileSync(join(tree, `many/${nth}`), nth % 3 === 0 ? '' : `content ${nth}`)
  writeFileSync(join(tree, 'few/three'), content(2, 1))
  writeFileSync(join(tree, 'few/large'), content(18, 2))
  writeFileSync(join(tree, 'few/hole'), 'begin')
  truncateSync(join(tree, 'few/hole'), 20 * BLOCK + 5)
  writeFileSync(join(tree, 'few/end'), Buffer.alloc(100_000))
  linkSync(join(tree, 'few/large'), join(tree, 'many/below/large'))
  linkSync(join(tree, 'many/5'), join(tree, 'few/aaa'))
  linkSync(join(tree, 'many/5'), join(tree, 'many/below/five'))
  symlinkSync('five', join(tree, 'many/below/link'))
  chmodSync(join(tree, 'many/7'), 0o4711)
  chmodSync(join(tree, 'many'), 0o555)
  utimesSync(join(tree, 'few'), 1_000_000_000, 1_000_000_000.25)
}

/** More blocks than one thread makes. */
function numerous(tree: string): void {
  various(tree)
  for (let folder = 0; folder < 40; folder += 1) {
    mkdirSync(join(tree, `folder-${folder}`))
    for (let nth = 0; nth < 25; nth += 1) writeFileSync(join(tree, `folder-${folder}/${nth}`), `${folder} of ${nth}`)
  }
}

for (const [what, make] of Object.entries({ here: various, 'by threads': numerous })) {
  void t.test(`unpackTree() restores a tree, its files made ${what}`, async (t) => {
    const all = await packed(t, make)
    // No store answers: all is made of what is here.
    const first = await unpack(all, ['nowhere'])
    t.strictSame([first.leftOut, first.entries, first.kept], [[], all.index.rowCount, 0])
    t.equal(first.bytes, all.index.contentBytes)
    sameAsTree(t, all)
    t.ok(statSync(join(all.dir, 'out/few/hole')).blocks < 100, 'a hole is a hole')
    const again = await unpack(all, ['nowhere'])
    t.strictSame([again.bytes, again.leftOut], [0, []])
    sameAsTree(t, all)
  })

  void t.test(`unpackTree() gets from elsewhere what is damaged or missing, its files made ${what}`, async (t) => {
    const all = await packed(t, make)
    mkdirSync(join(all.dir, 'second'))
    const store = join(all.dir, 'store')
    for (const [nth, folder] of readdirSync(store).entries()) {
      mkdirSync(join(all.dir, 'second', folder))
      for (const name of readdirSync(join(store, folder))) {
        const stored = readFileSync(join(store, folder, name))
        writeFileSync(join(all.dir, 'second', folder, name), stored)
        if (nth % 3 === 0) rmSync(join(store, folder, name))
        if (nth % 3 === 1) writeFileSync(join(store, folder, name), Buffer.alloc(stored.length))
      }
    }
    const { leftOut, entries } = await unpack(all, ['second'])
    t.strictSame([leftOut, entries], [[], all.index.rowCount])
    sameAsTree(t, all)
  })
}

void t.test('unpackTree() restores a v1', async (t) => {
  const all = await packed(t, various, 'v1')
  const { leftOut, entries } = await unpack(all, ['nowhere'])
  t.strictSame([leftOut, entries], [[], all.index.rowCount])
  sameAsTree(t, all)
})

void t.test('unpackTree() goes on without threads where their index is gone', async (t) => {
  const all = await packed(t, numerous)
  rmSync(all.local.indexPath)
  const { leftOut, entries } = await unpack(all, ['store'])
  t.strictSame([leftOut, entries], [[], all.index.rowCount])
  sameAsTree(t, all)
})

void t.test('unpackTree() leaves out all names of a file whose content is missing', async (t) => {
  const all = await packed(t, (tree) => {
    writeFileSync(join(tree, 'here'), 'here')
    mkdirSync(join(tree, 'folder'))
    writeFileSync(join(tree, 'folder/one'), 'one')
    linkSync(join(tree, 'folder/one'), join(tree, 'two'))
    linkSync(join(tree, 'folder/one'), join(tree, 'folder/three'))
    utimesSync(join(tree, 'folder'), 1000, 1000)
  })
  const row = all.index.find(0, Buffer.from('two'), 0, 3)
  const at = (all.index.first[all.index.leader[row]!] ?? 0) * all.index.hashBytes
  const hex = all.index.ids.subarray(at, at + all.index.hashBytes).toString('hex')
  rmSync(join(all.dir, 'store', hex.slice(0, 2), hex))
  const { leftOut, entries } = await unpack(all, ['store'])
  t.strictSame(leftOut.map(({ path, kind }) => `${kind} ${path}`).toSorted(), [
    'content folder/one',
    'link folder/three',
    'link two',
  ])
  t.equal(entries, 3)
  t.strictSame(readdirSync(join(all.dir, 'out')).toSorted(), ['folder', 'here'])
  t.strictSame(readdirSync(join(all.dir, 'out/folder')), [])
  t.equal(statSync(join(all.dir, 'out/folder')).mtimeMs, 1_000_000, 'the folder has its time')
})

void t.test('unpackTree() gives owners whatever was there', { skip: isRoot }, async (t) => {
  const all = await packed(t, (tree) => {
    mkdirSync(join(tree, 'folder'))
    for (const name of ['file', 'folder/file', 'other']) writeFileSync(join(tree, name), name)
    chownSync(join(tree, 'other'), 12, 34)
  })
  const out = join(all.dir, 'out')
  mkdirSync(out)
  chownSync(out, 0, 4321)
  // What is made in it belongs to its group.
  chmodSync(out, 0o2777)
  await unpack(all, ['nowhere'])
  sameAsTree(t, all)
  for (const name of ['file', 'folder']) chownSync(join(out, name), 4321, 4321)
  t.equal((await unpack(all, ['nowhere'])).kept, 3)
  sameAsTree(t, all)
})

void t.test('unpackTree() replaces what is in the way', async (t) => {
  const all = await packed(t, (tree) => {
    mkdirSync(join(tree, 'folder'))
    for (const name of ['file', 'link', 'empty', 'folder/file']) writeFileSync(join(tree, name), `is ${name}`)
  })
  const out = join(all.dir, 'out')
  mkdirSync(join(out, 'empty'), { recursive: true })
  writeFileSync(join(out, 'folder'), '')
  writeFileSync(join(out, 'file'), 'was file')
  writeFileSync(join(all.dir, 'kept'), 'kept')
  symlinkSync(join(all.dir, 'kept'), join(out, 'link'))
  const { leftOut } = await unpack(all, ['nowhere'])
  t.strictSame(leftOut, [])
  sameAsTree(t, all)
  t.equal(readFileSync(join(all.dir, 'kept'), 'utf8'), 'kept')
})

void t.test('unpackTree() leaves a file alone that has another name outside', async (t) => {
  const all = await packed(t, (tree) => {
    writeFileSync(join(tree, 'file'), 'file')
    writeFileSync(join(tree, 'one'), 'linked')
    linkSync(join(tree, 'one'), join(tree, 'other'))
  })
  await unpack(all, ['nowhere'])
  const [inside, outside] = [join(all.dir, 'out/file'), join(all.dir, 'outside')]
  linkSync(inside, outside)
  chmodSync(outside, 0o600)
  const { ctimeMs, ino } = statSync(outside)
  t.equal((await unpack(all, ['nowhere'])).kept, 1, 'the one whose names the archive has')
  sameAsTree(t, all)
  t.not(statSync(inside).ino, ino)
  t.equal(statSync(outside).mode & 0o777, 0o600)
  t.equal((await unpack(all, ['nowhere'])).kept, 2)
  t.ok(statSync(outside).ctimeMs >= ctimeMs, 'only its other name went')
})

void t.test('unpackTree() names what is in the way and stays there', async (t) => {
  const all = await packed(t, (tree) => writeFileSync(join(tree, 'file'), 'file'))
  mkdirSync(join(all.dir, 'out/file/full'), { recursive: true })
  const { leftOut } = await unpack(all, ['store'])
  t.match(only([...leftOut]), { path: 'file', kind: 'name' })
})

void t.test('unpackTree() hears an interrupt, and goes on later', async (t) => {
  const all = await packed(t, numerous)
  const interrupt = new AbortController()
  const { index, local, dir } = all
  await using supply = openReader({ routes: [], baseDir: dir, timeoutMs: 5000 })
  const onProgress = (): void => interrupt.abort()
  const request = { index, directory: join(dir, 'out'), supply, local, onProgress }
  await t.rejects(unpackTree(request, interrupt.signal), { name: 'AbortError' })
  const done = await unpack(all, ['nowhere'])
  t.ok(done.kept > 0, 'what was there is kept')
  sameAsTree(t, all)
})

void t.test('unpackTree() takes attributes away that the archive does not have', async (t) => {
  const all = await packed(t, (tree) => {
    mkdirSync(join(tree, 'folder'))
    for (const name of ['file', 'folder/file']) writeFileSync(join(tree, name), name)
    setXattr(join(tree, 'file'), 'user.kept', Buffer.from('kept'))
  })
  const out = join(all.dir, 'out')
  await unpack(all, ['nowhere'])
  for (const name of ['', 'file', 'folder', 'folder/file']) setXattr(join(out, name), 'user.more', Buffer.from('more'))
  const fromElsewhere = { ...all, local: { ...all.local, routes: [] } }
  for (const how of [all, fromElsewhere]) {
    setXattr(join(out, 'file'), 'user.kept', Buffer.from('changed'))
    for (const name of ['', 'folder']) setXattr(join(out, name), 'system.posix_acl_default', DEFAULT_ACL)
    rmSync(join(out, 'folder/file'))
    const { kept, leftOut } = await unpack(how, ['store'])
    t.strictSame([kept, leftOut], [1, []])
    sameAsTree(t, all)
    for (const name of ['', 'folder', 'folder/file']) t.strictSame(xattrsOf(join(out, name)), [], name)
    t.strictSame(xattrsOf(join(out, 'file')), [{ name: Buffer.from('user.kept'), value: Buffer.from('kept') }])
    setXattr(join(out, 'file'), 'user.more', Buffer.from('more'))
  }
})

/** What `setfacl -d -m u:1:rwx` sets: version 2, then tag, permissions and id of each entry. */
const DEFAULT_ACL = Buffer.from(
  '02000000 0100 0700 ffffffff 0200 0700 01000000 0400 0500 ffffffff 1000 0700 ffffffff 2000 0500 ffffffff'.replaceAll(
    ' ',
    '',
  ),
  'hex',
)

function xattrsOf(path: string): unknown {
  return readXattrs(Buffer.from(`${path}\0`), false)
}
