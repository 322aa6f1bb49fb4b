import { createHash } from 'node:crypto'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openIndex, compileArchive, hashArchive, type FlistIndex } from '../../lib/flist/index.ts'
import { packFolder, type PackRequest, type PackResult } from '../../lib/make/index.ts'
import { setTimes } from '../../lib/system/index.ts'
import { differ, factsOfFolder, factsOfIndex } from './facts.ts'
import { makeNasty } from './nasty.ts'

const NEVER = new AbortController().signal
/** `FLISTFS_NASTY=full` is the campaign. */
const NASTY =
  process.env['FLISTFS_NASTY'] === 'full' ? { links: 1000, entries: 100_000 } : { links: 200, entries: 3000 }

type Wishes = Partial<PackRequest> & { store?: string }

/** Packs `dir/tree` into `dir/NAME` with the blocks in `dir/blocks`. */
function pack(dir: string, name: string, wishes: Wishes = {}, signal = NEVER): Promise<PackResult> {
  const { store = 'blocks', ...more } = wishes
  return packFolder(
    {
      source: join(dir, 'tree'),
      archive: join(dir, name),
      format: name.endsWith('.flist') ? 'v1' : 'fl',
      stores: [{ start: 0, end: 255, url: `dir:${store}` }],
      baseDir: dir,
      threads: 1,
      ...more,
    },
    signal,
  )
}

async function indexOf(t: Test, path: string): Promise<FlistIndex> {
  const digest = await hashArchive(path, NEVER)
  await compileArchive(path, `${path}.idx`, { digest, signal: NEVER })
  const index = openIndex(`${path}.idx`, digest)
  t.teardown(() => index.close())
  return index
}

function rowOf(index: FlistIndex, path: string): number {
  let row = 0
  for (const part of path.split('/')) row = index.find(row, Buffer.from(part), 0, Buffer.byteLength(part))
  return row
}

void t.test('packFolder() keeps all of a nasty tree that a format can carry', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({})
  const xattrs = makeNasty(join(dir, 'tree'), NASTY)
  for (const [name, format] of [
    ['a.fl', 'fl'],
    ['a.flist', 'v1'],
  ] as const) {
    const store = `blocks of ${name}`
    const made = await pack(dir, name, { store })
    t.same(made.problems, [])
    const index = await indexOf(t, join(dir, name))
    t.equal(index.format, format)
    t.equal(index.rowCount, made.entries)
    t.same(
      differ(factsOfFolder(join(dir, 'tree'), { format }), await factsOfIndex(index, join(dir, store), { format })),
      [],
    )
    if (format === 'v1') continue
    for (const [path, its] of xattrs) {
      const found = index.xattrs(rowOf(index, path)).map(({ name, value }) => [name.toString(), value.toString('hex')])
      const wanted = [...its]
        .map(([name, value]) => [name, value.toString('hex')])
        .sort(([a = ''], [b = '']) => (a < b ? -1 : 1))
      t.same(found, wanted, path)
    }
    t.equal(index.leader[rowOf(index, 'links/7')], index.leader[rowOf(index, 'links/199')])
    t.equal(index.xattrs(rowOf(index, 'links/9')).length, index.xattrs(rowOf(index, 'links/0')).length)
  }
})

void t.test(
  'packFolder() gives the same bytes with any number of threads, and sends nothing twice',
  { timeout: 600_000 },
  async (t) => {
    const dir = t.testdir({})
    makeNasty(join(dir, 'tree'), { links: 20, entries: 300 })
    for (const kind of ['fl', 'flist']) {
      const made: PackResult[] = []
      for (const threads of [1, 2, 5])
        made.push(await pack(dir, `${threads}.${kind}`, { threads, store: `${kind}.blocks` }))
      const [one, two, five] = made
      t.equal(one?.digest, two?.digest)
      t.equal(one?.digest, five?.digest)
      t.equal(one?.newBlocks, one?.blocks)
      t.same([two?.blocks, two?.newBlocks, two?.newBytes], [one?.blocks, 0, 0])
      t.equal(
        one?.digest,
        createHash('sha256')
          .update(readFileSync(join(dir, `1.${kind}`)))
          .digest('hex'),
      )
    }
  },
)

void t.test('packFolder() with a base reads only what changed', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({
    tree: { folder: { same: 'same', size: 'size', content: 'content', gone: 'gone' }, top: 'top' },
  })
  // Changed long before it is packed, so that the clock's grain does not matter to archives without nanoseconds.
  const first = await pack(dir, '1.fl')
  const tree = join(dir, 'tree')
  appendFileSync(join(tree, 'folder/size'), '!')
  writeFileSync(join(tree, 'folder/content'), 'CONTENT')
  rmSync(join(tree, 'folder/gone'))
  writeFileSync(join(tree, 'folder/new'), 'new')
  const base = { index: await indexOf(t, join(dir, '1.fl')), madeAt: 0 }
  const second = await pack(dir, '2.fl', { base })
  const whole = await pack(dir, '3.fl')
  t.equal(second.reused, 2)
  t.equal(second.bytes, 'size!CONTENTnew'.length)
  t.equal(second.digest, whole.digest)
  t.not(second.digest, first.digest)
  // Into another store go the blocks that it lacks, whether files changed or not.
  const elsewhere = await pack(dir, '5.fl', {
    base: { index: await indexOf(t, join(dir, '2.fl')), madeAt: 0 },
    store: 'other',
  })
  t.same([elsewhere.reused, elsewhere.newBlocks], [0, whole.blocks])
  const again = await pack(dir, '6.fl', {
    base: { index: await indexOf(t, join(dir, '3.fl')), madeAt: 0 },
    store: 'other',
  })
  t.same([again.reused, again.newBlocks], [5, 0])
  // Somebody who sets the time back is not believed: the kernel's own time of change tells.
  const before = { index: await indexOf(t, join(dir, '3.fl')), madeAt: 0 }
  writeFileSync(join(tree, 'top'), 'TOP')
  utimesSync(join(tree, 'top'), new Date(0), new Date(0))
  setTimes(join(tree, 'folder/same'), 77, 77)
  const third = await pack(dir, '4.fl', { base: before })
  t.equal(third.bytes, 'TOPsame'.length)
})

void t.test('packFolder() believes a base without nanoseconds only what lies back', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ tree: { one: 'one', two: 'two' } })
  await pack(dir, '1.flist')
  const index = await indexOf(t, join(dir, '1.flist'))
  const changedAt = Math.floor(statSync(join(dir, 'tree/one')).ctimeMs / 1000)
  t.equal((await pack(dir, '2.flist', { base: { index, madeAt: changedAt } })).reused, 0)
  t.equal((await pack(dir, '3.flist', { base: { index, madeAt: changedAt + 100 } })).reused, 2)
})

void t.test('packFolder() leaves out what tar would', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({
    tree: {
      'a.log': 'x',
      keep: { 'b.log': 'x', c: 'x' },
      tmp: { d: 'x' },
      usr: { tmp: { e: 'x' }, 'f[1]': 'x', f1: 'x' },
    },
  })
  const names = async (name: string, exclude: string[]): Promise<string[]> => {
    await pack(dir, name, { exclude })
    const index = await indexOf(t, join(dir, name))
    return Array.from({ length: index.rowCount - 1 }, (_, row) => index.pathOf(row + 1).toString()).sort()
  }
  t.same(await names('1.fl', ['*.log', 'usr']), ['keep', 'keep/c', 'tmp', 'tmp/d'])
  t.same(await names('2.fl', ['/tmp', 'f\\[1\\]', 'keep/']), ['a.log', 'usr', 'usr/f1', 'usr/tmp', 'usr/tmp/e'])
  t.same(await names('3.fl', ['tmp/*', 'f[0-9]', '?.log', 'ke*/c']), ['keep', 'tmp', 'usr', 'usr/f[1]', 'usr/tmp'])
})

void t.test('packFolder() gives all the owner and time that were asked for', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ tree: { one: 'one', two: { three: 'three' } } })
  const made = await pack(dir, '1.fl', { uid: 12, gid: 34, time: { seconds: -5, nanoseconds: 6 } })
  // The same files at another time: the archive does not tell.
  rmSync(join(dir, 'tree'), { recursive: true })
  mkdirSync(join(dir, 'tree/two'), { recursive: true })
  writeFileSync(join(dir, 'tree/two/three'), 'three')
  writeFileSync(join(dir, 'tree/one'), 'one')
  const again = await pack(dir, '2.fl', { uid: 12, gid: 34, time: { seconds: -5, nanoseconds: 6 } })
  t.equal(made.digest, again.digest)
  const index = await indexOf(t, join(dir, '1.fl'))
  t.same([...index.owners], [12, 34])
  t.same([index.mtime[0], index.mtimeNs?.[1], index.ctimeNs?.[2]], [-5, 6, 6])
})

void t.test(
  'packFolder() follows links where it is asked to, and names circles and what leads nowhere',
  { timeout: 600_000 },
  async (t) => {
    const dir = t.testdir({ tree: { real: { file: 'content' } } })
    const tree = join(dir, 'tree')
    symlinkSync('real', join(tree, 'folder'))
    symlinkSync('real/file', join(tree, 'file'))
    symlinkSync('..', join(tree, 'real/circle'))
    symlinkSync('nowhere', join(tree, 'dangling'))
    const made = await pack(dir, '1.fl', { follow: true })
    t.same(made.problems.map(({ path, what }) => `${path} ${what}`).sort(), [
      'dangling unreadable',
      'folder/circle loop',
      'real/circle loop',
    ])
    const index = await indexOf(t, join(dir, '1.fl'))
    t.equal((index.mode[rowOf(index, 'folder')] ?? 0) & 0o170000, 0o040000)
    t.equal(index.leader[rowOf(index, 'folder/file')], index.leader[rowOf(index, 'real/file')])
    t.same((await pack(dir, '2.fl')).problems, [])
  },
)

void t.test(
  'packFolder() names what it cannot read',
  { timeout: 600_000, skip: process.getuid?.() === 0 && 'root may read all' },
  async (t) => {
    const dir = t.testdir({ tree: { open: 'x', closed: 'x', folder: { below: 'x' } } })
    linkSync(join(dir, 'tree/closed'), join(dir, 'tree/also closed'))
    chmodSync(join(dir, 'tree/closed'), 0)
    chmodSync(join(dir, 'tree/folder'), 0)
    t.teardown(() => chmodSync(join(dir, 'tree/folder'), 0o755))
    const made = await pack(dir, '1.fl')
    t.same(made.problems.map(({ path, what }) => `${path} ${what}`).sort(), [
      'also closed unreadable',
      'closed unreadable',
      'folder unreadable',
    ])
    t.equal(made.entries, 3)
  },
)

void t.test(
  'packFolder() takes what changes all the time as it comes, and says so',
  { timeout: 600_000 },
  async (t) => {
    const dir = t.testdir({ tree: { quiet: 'quiet' } })
    const path = join(dir, 'tree/restless')
    // Large enough to be still read while the timer writes.
    writeFileSync(path, Buffer.alloc(40 * 1024 * 1024, 'a'))
    let written = 0
    const timer = setInterval(() => {
      appendFileSync(path, 'b')
      written += 1
    }, 1)
    const made = await pack(dir, '1.fl').finally(() => clearInterval(timer))
    t.ok(written > 3)
    t.same(
      made.problems.map(({ path, what }) => `${path} ${what}`),
      ['restless changed'],
    )
    const index = await indexOf(t, join(dir, '1.fl'))
    const facts = await factsOfIndex(index, join(dir, 'blocks'), { format: 'fl' })
    const size = index.size[rowOf(index, 'restless')] ?? 0
    t.ok(size >= 40 * 1024 * 1024)
    const expected = Buffer.alloc(size, 'b').fill('a', 0, 40 * 1024 * 1024)
    t.ok(facts.get('restless')?.endsWith(createHash('sha256').update(expected).digest('hex')), 'a state it was in')
  },
)

void t.test('packFolder() leaves nothing behind that is not whole', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ tree: { one: 'one' } })
  const gone = AbortSignal.abort(new Error('gone'))
  await t.rejects(pack(dir, '1.fl', {}, gone), { message: 'gone' })
  t.same(readdirSync(dir).sort(), ['blocks', 'tree'])
  writeFileSync(join(dir, 'file'), 'a file')
  await t.rejects(pack(dir, 'file/1.fl'), { code: 'FLIST_SYSTEM', message: /^Cannot write the archive/ })
  await t.rejects(pack(dir, '1.fl', { source: join(dir, 'nowhere') }), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(pack(dir, '1.fl', { source: join(dir, 'file') }), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(pack(dir, '1.fl', { store: 'tree/blocks' }), {
    code: 'FLIST_USAGE',
    message: /store that lies in it/,
  })
  rmSync(join(dir, 'tree/blocks'), { recursive: true })
  t.notOk(existsSync(join(dir, '1.fl')))
})

void t.test('packFolder() does not pack the archive that it replaces', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ tree: { one: 'one' } })
  const first = await pack(dir, 'tree/1.fl', { time: { seconds: 1, nanoseconds: 0 } })
  const second = await pack(dir, 'tree/1.fl', { time: { seconds: 1, nanoseconds: 0 } })
  t.equal(first.digest, second.digest)
  renameSync(join(dir, 'tree/1.fl'), join(dir, '1.fl'))
})

void t.test('packFolder() splits and copies blocks by ranges', { timeout: 600_000 }, async (t) => {
  const files = Object.fromEntries(Array.from({ length: 64 }, (_, file) => [`file ${file}`, `content ${file}`]))
  const dir = t.testdir({ tree: files })
  const stores = [
    { start: 0, end: 0x7f, url: 'dir:low' },
    { start: 0x80, end: 0xff, url: 'dir:high' },
    { start: 0, end: 0xff, url: 'dir:all' },
  ]
  const made = await pack(dir, '1.fl', { stores })
  const shards = (name: string): string[] => readdirSync(join(dir, name)).sort()
  t.ok(shards('low').every((shard) => shard < '80'))
  t.ok(shards('high').every((shard) => shard >= '80'))
  t.same([...shards('low'), ...shards('high')], shards('all'))
  t.equal(made.newBlocks, 64)
  const index = await indexOf(t, join(dir, '1.fl'))
  t.same(index.routes, [
    { start: 0, end: 0x7f, url: `dir://${dir}/low` },
    { start: 0x80, end: 0xff, url: `dir://${dir}/high` },
    { start: 0, end: 0xff, url: `dir://${dir}/all` },
  ])
})
