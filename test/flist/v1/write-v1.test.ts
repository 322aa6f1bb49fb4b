import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createBLAKE2b } from 'hash-wasm'
import t from 'tap'
import { TreeBuilder, writeArchive } from '../../../lib/flist/index.ts'
import { AclWriter } from '../../../lib/flist/v1/acl-writer.ts'
import { unpackV1 } from '../../../lib/flist/v1/container.ts'
import { readV1Archive } from '../../../lib/flist/v1/read.ts'
import { routeTags, ROUTES_TAG, taggedRoutes } from '../../../lib/flist/v1/route-tags.ts'
import { goldenDir, NO_GOLDEN } from '../../golden.ts'
import { MemorySink } from './memory-sink.ts'

const NEVER = new AbortController().signal
const golden = `${goldenDir() ?? ''}/v1`

async function read(path: string, scratchDir: string): Promise<MemorySink> {
  const sink = new MemorySink()
  await readV1Archive(path, sink, { signal: NEVER, scratchDir })
  return sink
}

/** Entries by path, but for the numbers they happen to have. */
function facts(sink: MemorySink): string[] {
  return [...sink.byPath()]
    .map(
      ([path, entry]) =>
        `${path} ${JSON.stringify({ ...entry, parent: 0 }, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value))}`,
    )
    .sort()
}

async function keysIn(archive: string, scratchDir: string): Promise<string[]> {
  const { databasePath } = await unpackV1(archive, join(scratchDir, `keys-${Math.random()}`), NEVER)
  const database = new DatabaseSync(databasePath, { readOnly: true })
  try {
    return database
      .prepare('SELECT key FROM entries ORDER BY key')
      .all()
      .map(({ key }) => String(key))
  } finally {
    database.close()
  }
}

for (const name of ['hand', 'debian', 'bigdir', 'rawnames', 'floatbug', 'router', 'metadata', 'empty']) {
  void t.test(
    `writeArchive() writes again what ${name}.flist holds`,
    { skip: NO_GOLDEN, timeout: 600_000 },
    async (t) => {
      const dir = t.testdir({})
      const tree = new TreeBuilder({ format: 'v1', hashBytes: 16 })
      await readV1Archive(`${golden}/${name}.flist`, tree, { signal: NEVER, scratchDir: dir })
      await writeArchive(tree, join(dir, 'a.flist'), { signal: NEVER })
      const [theirs, ours] = [await read(`${golden}/${name}.flist`, dir), await read(join(dir, 'a.flist'), dir)]
      t.same(facts(ours), facts(theirs))
      t.same(ours.routes, theirs.routes)
      const folders = (keys: string[]): string[] => keys.filter((key) => key.length === 32)
      t.same(folders(await keysIn(join(dir, 'a.flist'), dir)), folders(await keysIn(`${golden}/${name}.flist`, dir)))
      for (const [key, value] of theirs.tags) t.equal(ours.tags.get(key), value)
    },
  )
}

void t.test('AclWriter gives the keys of the reference program', { skip: NO_GOLDEN }, async (t) => {
  const narrow = await createBLAKE2b(64)
  const vectors = JSON.parse(readFileSync(`${golden}/vectors.json`, 'utf8')) as {
    acl_key: { uname: string; gname: string; mode: number; uid: number; gid: number; key: string }[]
  }
  for (const { uname, gname, mode, uid, gid, key } of vectors.acl_key) {
    const latin1 = (text: string): string => Buffer.from(text).toString('latin1')
    const names = { user: () => latin1(uname), group: () => latin1(gname) }
    const acls = new AclWriter(names, (text) => narrow.init().update(text).digest())
    t.equal(acls.key(mode, uid, gid), key)
  }
})

void t.test('writeArchive() has room for a folder that the reference writer loses', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({})
  const tree = new TreeBuilder({ format: 'v1', hashBytes: 16 })
  tree.add(Buffer.alloc(0), 0o40755, 0, 0, 4096, 0, 0, 0, 0, 0)
  const many = 40_000
  for (let file = 0; file < many; file += 1) {
    tree.setParent(tree.add(Buffer.from(`file ${file}`), 0o100644, 1, 2, 1, 0, 3, 0, 4, 0), 0)
    tree.addBlock(file + 1, Buffer.alloc(16, file % 251), Buffer.alloc(16, 7))
  }
  await writeArchive(tree, join(dir, 'a.flist'), { signal: NEVER, numericOwner: true })
  const sink = await read(join(dir, 'a.flist'), dir)
  t.equal(sink.entries.length, many + 1)
  t.match(sink.byPath().get(Buffer.from('file 39999').toString('hex')), {
    mode: 0o100644,
    uid: 1,
    gid: 2,
    size: 1,
    mtime: 3,
    ctime: 4,
  })
})

void t.test('special files have their own types, and times what 32 bits can hold', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({})
  const tree = new TreeBuilder({ format: 'v1', hashBytes: 16 })
  tree.add(Buffer.alloc(0), 0o41777, 5, 6, 4096, 0, -5, 9, 2 ** 40, 9)
  const cases = [
    ['socket', 0o140600, 0],
    ['fifo', 0o010600, 0],
    ['block', 0o060600, ((1_000_000 & 0xff) | (4000 << 8) | ((1_000_000 & ~0xff) << 12)) >>> 0],
    ['character', 0o020600, (1 << 8) | 3],
  ] as const
  for (const [name, mode, rdev] of cases)
    tree.setParent(tree.add(Buffer.from(name), mode, 0, 0, 0, rdev, 1, 2, 3, 4), 0)
  await writeArchive(tree, join(dir, 'a.flist'), { signal: NEVER })
  const found = (await read(join(dir, 'a.flist'), dir)).byPath()
  for (const [name, mode, rdev] of cases) t.match(found.get(Buffer.from(name).toString('hex')), { mode, rdev })
  t.match(found.get(''), { mode: 0o41777, uid: 5, gid: 6, mtime: 0, ctime: 0xffff_ffff })
})

void t.test('routeTags() says where blocks are, as old readers look for it where they can', (t) => {
  const tagsOf = (...urls: string[]): [string, string][] =>
    routeTags(
      new Map(),
      urls.map((url) => ({ start: 0, end: 255, url })),
    )
  t.same(tagsOf(), [])
  t.same(tagsOf('zdb://hub.grid.tf:9900/default'), [
    ['backend', '{"namespace": "default", "host": "hub.grid.tf", "port": 9900}'],
  ])
  t.same(tagsOf('zdb://:secret@[::1]/ns'), [
    ['backend', '{"namespace": "ns", "host": "::1", "port": 9900, "password": "secret"}'],
  ])
  const [[key, value] = ['', '']] = tagsOf('dir:///a', 's3://host:9000/b')
  t.equal(key, ROUTES_TAG)
  t.same(
    taggedRoutes(value).map(({ url }) => url),
    ['dir:///a', 's3://host:9000/b'],
  )
  for (const wrong of ['{}', '[{"start":0,"end":256,"url":"x"}]', 'no json', '[null]']) t.same(taggedRoutes(wrong), [])
  t.end()
})
