import { renameSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { FILE_TYPE, signedStatement, statementOf, TreeBuilder, writeArchive } from '../../../lib/flist/index.ts'
import { compiled, hashOf, NEVER } from '../helpers.ts'

// Each statement is made through a file that is synced: slow disks are slow. The campaign has no deadline.
t.setTimeout(process.env['FLISTFS_FUZZ_RUNS'] === undefined ? 600_000 : 0)

/** An entry in the root folder, as plain data that a test can change. */
interface Plain {
  name: string
  type: number
  mode: number
  uid: number
  gid: number
  size: number
  rdev: number
  mtime: number
  mtimeNs: number
  ctime: number
  ctimeNs: number
  target: string
  blocks: string[]
  xattrs: [string, string][]
  /** Number of the entry that this is another name of. */
  leader: number
  /** Number of the folder that it is in; -1: the root. */
  parent: number
}

const ENTRY: Plain = {
  name: 'file',
  type: FILE_TYPE.file,
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 600_000,
  rdev: 0,
  mtime: 1_600_000_000,
  mtimeNs: 0,
  ctime: 1_600_000_001,
  ctimeNs: 0,
  target: '',
  blocks: ['one', 'two'],
  xattrs: [],
  leader: -1,
  parent: -1,
}

const TREE: readonly Plain[] = [
  { ...ENTRY, name: 'folder', type: FILE_TYPE.directory, mode: 0o755, size: 4096, blocks: [] },
  { ...ENTRY, name: 'other folder', type: FILE_TYPE.directory, mode: 0o755, size: 4096, blocks: [] },
  { ...ENTRY, name: 'file', parent: 0, mtimeNs: 5, xattrs: [['user.a', 'x']] },
  { ...ENTRY, name: 'empty', size: 0, blocks: [] },
  { ...ENTRY, name: 'large', size: 2 ** 33 + 1, blocks: ['three'] },
  { ...ENTRY, name: 'name of large', leader: 4 },
  { ...ENTRY, name: 'link', type: FILE_TYPE.link, mode: 0o777, target: 'file', size: 4, blocks: [] },
  { ...ENTRY, name: 'device', type: FILE_TYPE.character, rdev: 0x103, size: 0, blocks: [] },
]
const TAGS: Readonly<Record<string, string>> = { author: 'me', 'x-oci-config': '{}' }

function build(
  entries: readonly Plain[],
  tags = TAGS,
  routes: string[] = ['dir:///a'],
  format: 'fl' | 'v1' = 'fl',
): TreeBuilder {
  const hashBytes = format === 'fl' ? 32 : 16
  const tree = new TreeBuilder({ format, hashBytes })
  tree.routes = routes.map((url) => ({ start: 0, end: 255, url }))
  for (const [name, value] of Object.entries(tags)) tree.tags.set(name, value)
  tree.add(Buffer.alloc(0), 0o040755, 0, 0, 4096, 0, 1, 0, 1, 0)
  for (const one of entries) {
    const mode = one.type | one.mode
    const { name, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs } = one
    const entry = tree.add(Buffer.from(name), mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs)
    if (one.target !== '') tree.setTarget(entry, Buffer.from(one.target))
    if (one.leader >= 0) {
      tree.setLink(entry, one.leader + 1)
      continue
    }
    for (const block of one.blocks) {
      tree.addBlock(entry, hashOf(`${block} id`).subarray(0, hashBytes), hashOf(block).subarray(0, hashBytes))
    }
    for (const [key, value] of one.xattrs) tree.setXattr(entry, Buffer.from(key), Buffer.from(value))
  }
  for (const [nth, { parent }] of entries.entries()) tree.setParent(nth + 1, parent + 1)
  return tree
}

function stated(entries: readonly Plain[], ...rest: [tags?: typeof TAGS, routes?: string[]]): Promise<string> {
  return statementOf(build(entries, ...rest), { signal: NEVER })
}

function changed(nth: number, change: Partial<Plain>): Plain[] {
  return TREE.map((one, at) => (at === nth ? { ...one, ...change } : one))
}

const WITHOUT_LAST = TREE.slice(0, -1)

/** One change of each thing that an archive says. */
const CHANGES: Readonly<Record<string, readonly Plain[]>> = {
  name: changed(2, { name: 'File' }),
  'name and its neighbour': changed(3, { name: 'empt' }).map((one, nth) =>
    nth === 4 ? { ...one, name: 'ylarge' } : one,
  ),
  folder: changed(2, { parent: 1 }),
  'type of a device': changed(7, { type: FILE_TYPE.block }),
  type: changed(3, { type: FILE_TYPE.fifo }),
  mode: changed(2, { mode: 0o4644 }),
  'mode of a folder': changed(0, { mode: 0o777 }),
  uid: changed(2, { uid: 1 }),
  gid: changed(2, { gid: 1 }),
  size: changed(2, { size: 600_001 }),
  'high half of a size': changed(4, { size: 2 ** 34 + 1 }),
  device: changed(7, { rdev: 0x104 }),
  mtime: changed(2, { mtime: 1_600_000_007 }),
  'mtime before 1970': changed(2, { mtime: -1 }),
  'mtime after 2106': changed(2, { mtime: 2 ** 33 }),
  'nanoseconds of mtime': changed(2, { mtimeNs: 6 }),
  'no nanoseconds': changed(2, { mtimeNs: 0 }),
  ctime: changed(2, { ctime: 1 }),
  'nanoseconds of ctime': changed(2, { ctimeNs: 6 }),
  target: changed(6, { target: 'fill' }),
  block: changed(2, { blocks: ['one', 'TWO'] }),
  'order of blocks': changed(2, { blocks: ['two', 'one'] }),
  'block less': changed(2, { blocks: ['one'] }),
  'block of another file': changed(2, { blocks: ['one'] }).map((one, nth) =>
    nth === 4 ? { ...one, blocks: ['two', 'three'] } : one,
  ),
  'name of an attribute': changed(2, { xattrs: [['user.b', 'x']] }),
  'value of an attribute': changed(2, { xattrs: [['user.a', 'y']] }),
  'border of name and value': changed(2, { xattrs: [['user.ax', '']] }),
  'one attribute more': changed(2, {
    xattrs: [
      ['user.a', 'x'],
      ['user.c', ''],
    ],
  }),
  'no attribute': changed(2, { xattrs: [] }),
  'attribute of another file': changed(2, { xattrs: [] }).map((one, nth) =>
    nth === 3 ? { ...one, xattrs: [['user.a', 'x']] } : one,
  ),
  'no hard link': changed(5, { leader: -1, size: 2 ** 33 + 1, blocks: ['three'] }),
  'entry less': WITHOUT_LAST,
  'entry more': [...TREE, { ...ENTRY, name: 'new' }],
}

void t.test('signedStatement() changes with each thing that an archive says', async (t) => {
  const seen = new Map([[await stated(TREE), 'as it was']])
  for (const [what, entries] of Object.entries(CHANGES)) {
    const statement = await stated(entries)
    t.equal(seen.get(statement), undefined, what)
    seen.set(statement, what)
  }
  for (const tags of [{}, { ...TAGS, author: 'you' }, { ...TAGS, more: '' }, { authorm: 'e', 'x-oci-config': '{}' }]) {
    t.equal(seen.get(await stated(TREE, tags)), undefined, `tags ${JSON.stringify(tags)}`)
  }
  const v1 = await statementOf(build(TREE, TAGS, [], 'v1'), { signal: NEVER })
  t.equal(seen.get(v1), undefined, 'the format')
})

void t.test('signedStatement() says nothing of places, signatures and order', async (t) => {
  const statement = await stated(TREE)
  t.match(statement, /^flistfs-signature-v1\nformat fl\nentries 9\nnames [0-9a-f]{64}\n/)
  t.equal(await stated(TREE, TAGS, ['https://elsewhere.example.org', 'dir:///b']), statement, 'routes')
  t.equal(await stated(TREE, { ...TAGS, 'x-signature': '[]' }), statement, 'signatures')
  t.equal(await stated(TREE, { 'x-oci-config': '{}', author: 'me' }), statement, 'order of tags')
  const moved = [...TREE.slice(0, 3), TREE[7] ?? ENTRY, ...TREE.slice(3, 7)]
  const order = moved.map((one) => (one.leader === 4 ? { ...one, leader: 5 } : one))
  t.equal(await stated(order), statement, 'order of the rows in the archive, and of owners')
})

for (const format of ['fl', 'v1'] as const) {
  void t.test(`statementOf() is what a reader of the ${format} finds`, async (t) => {
    const dir = t.testdir()
    const fresh = () => build(TREE, TAGS, ['zdb://hub.example.org:9900/default'], format)
    await writeArchive(fresh(), `${dir}/a`, { signal: NEVER, numericOwner: true })
    const index = await compiled(`${dir}/a`, `${dir}/a.idx`)
    const statement = await statementOf(fresh(), { signal: NEVER, numericOwner: true })
    t.equal(signedStatement(index), statement)
    index.close()
    const elsewhere = build(TREE, TAGS, ['dir:///a', 'dir:///b'], format)
    await writeArchive(elsewhere, `${dir}/b`, { signal: NEVER, numericOwner: true })
    renameSync(`${dir}/b`, `${dir}/c`)
    const other = await compiled(`${dir}/c`, `${dir}/c.idx`)
    t.equal(signedStatement(other), statement, 'with other routes')
    other.close()
  })
}

const RUNS = Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 10)
const SEED = Number(process.env['FLISTFS_FUZZ_SEED'] ?? Date.now() % 2 ** 31)

const TIME = fc.integer({ min: -(2 ** 33), max: 2 ** 34 })
const FRACTION = fc.integer({ min: 0, max: 999_999_999 })
const ID = fc.nat(0xffff_ffff)
const FILE = fc.record({
  mode: fc.nat(0o7777),
  uid: ID,
  gid: ID,
  size: fc.integer({ min: 2, max: 2 ** 31 }).map((count) => count * 2 ** 20),
  mtime: TIME,
  mtimeNs: FRACTION,
  ctime: TIME,
  ctimeNs: FRACTION,
  blocks: fc.array(fc.string({ maxLength: 4 }), { maxLength: 3 }),
  xattrs: fc.uniqueArray(fc.tuple(fc.stringMatching(/^user\.[a-z]{1,4}$/), fc.string({ maxLength: 4 })), {
    maxLength: 3,
    selector: ([name]) => name,
  }),
})

void t.test('statementOf() says which folder it cannot use', async (t) => {
  const { TMPDIR: before } = process.env
  process.env['TMPDIR'] = join(t.testdir({}), 'none')
  try {
    await t.rejects(stated(TREE), { code: 'FLIST_SYSTEM', message: /none" cannot be used/, hint: /TMPDIR/ })
  } finally {
    if (before === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = before
  }
})

void t.test('signedStatement() tells trees apart', async (t) => {
  t.comment(`seed ${SEED}, ${RUNS} runs`)
  const files = fc.array(FILE, { minLength: 1, maxLength: 4 })
  const plain = (list: readonly object[]): Plain[] =>
    list.map((one, nth) => ({ ...ENTRY, ...one, name: `file ${nth}` }))
  const canonical = (list: readonly Plain[]): string =>
    JSON.stringify(list.map((one) => ({ ...one, xattrs: one.xattrs.toSorted(([a], [b]) => (a < b ? -1 : 1)) })))
  await fc.assert(
    fc.asyncProperty(files, files, async (one, other) => {
      const [a, b] = [plain(one), plain(other)]
      // As a whole, and with one attribute of one file alone taken from the other.
      const [field = 'uid'] = Object.keys(FILE_FIELDS).slice(one.length % Object.keys(FILE_FIELDS).length)
      const mixed = a.map((file, nth) => (nth === 0 ? { ...file, [field]: b[0]?.[field as keyof Plain] } : file))
      const own = await stated(a)
      for (const tree of [b, mixed as Plain[]]) {
        const isSame = canonical(a) === canonical(tree)
        if ((own === (await stated(tree))) !== isSame) throw new Error(`${canonical(a)} ${canonical(tree)}`)
      }
    }),
    { seed: SEED, numRuns: RUNS },
  )
  t.pass('no run ended otherwise')
})

const FILE_FIELDS = {
  mode: 0,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: 0,
  mtimeNs: 0,
  ctime: 0,
  ctimeNs: 0,
  blocks: 0,
  xattrs: 0,
}
