import { readdirSync, readFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { LIMITS } from '../../lib/base/index.ts'
import { FlWriter } from '../../lib/flist/index.ts'
import { ATTRIBUTES, brokenPromise, compiled, file, folder, hashOf, rowAt, secondsAt, writeArchive } from './helpers.ts'

const RAW = Buffer.from([0x66, 0xff, 0xfe, 0x0a, 0x01])

function fillNasty(writer: FlWriter): void {
  writer.addTag('x-flistfs', '1')
  writer.addTag('description', 'old')
  writer.addTag('description', 'nasty “tree”')
  writer.addRoute(0, 0x7f, 'dir:///a')
  writer.addRoute(0x80, 0xff, 'dir:///b')
  const odd = writer.addInode(folder(1, 'odd'))
  writer.addInode(file(odd, RAW, { mtime: -1, ctime: -62135596800, uid: 0xffff_ffff, gid: 0xffff_fffe }))
  writer.addInode(file(odd, Buffer.alloc(255, 0xff), { mtime: 2 ** 40, mtimeNs: 999_999_999, ctimeNs: 1 }))
  writer.addInode(file(odd, 'mode', { mode: 0o107777 }))
  writer.addInode(file(odd, 'hole', { size: LIMITS.fileBytesMax }))
  writer.addInode({
    ...ATTRIBUTES,
    parent: odd,
    name: Buffer.from('link'),
    mode: 0o120777,
    size: 2,
    target: RAW.subarray(1, 3),
  })
  writer.addInode({ ...ATTRIBUTES, parent: odd, name: Buffer.from('dev'), mode: 0o020600, rdev: 0xffff_ffff })
  const xattrs = [
    { name: Buffer.from('user.b'), value: Buffer.alloc(0) },
    { name: Buffer.from('system.posix_acl_access'), value: Buffer.from([2, 0, 0, 0]) },
  ]
  const big = writer.addInode(file(odd, 'big', { size: 2 * LIMITS.blockBytesMax + 1, xattrs }))
  const other = writer.addInode(file(odd, 'other', { size: 1 }))
  // Blocks of files packed side by side are interleaved.
  writer.addBlock(big, hashOf('id 0'), hashOf('key 0'))
  writer.addBlock(other, hashOf('id x'), hashOf('key x'))
  writer.addBlock(big, hashOf('id 1'), hashOf('key 1'))
  writer.addBlock(big, hashOf('id 2'), hashOf('key 2'))
  const early = writer.addInode(folder(1, 'a-links'))
  writer.addInode(file(early, 'big again', { leader: big, size: 7, mode: 0o100000 }))
  writer.addInode(file(early, 'big thrice', { leader: big }))
  let deep = 1
  for (let level = 0; level < 60; level += 1) deep = writer.addInode(folder(deep, `level ${level}`))
}

void t.test('FlWriter writes what readFl() gives back', async (t) => {
  const dir = t.testdir()
  writeArchive(`${dir}/nasty.fl`, fillNasty)
  const index = await compiled(`${dir}/nasty.fl`, `${dir}/nasty.idx`)
  t.teardown(() => index.close())
  t.equal(brokenPromise(index), undefined)
  t.same(index.tags, { 'x-flistfs': '1', description: 'nasty “tree”' })
  t.same(index.routes, [
    { start: 0, end: 0x7f, url: 'dir:///a' },
    { start: 0x80, end: 0xff, url: 'dir:///b' },
  ])
  const odd = rowAt(index, 'odd')
  const raw = index.find(odd, RAW, 0, RAW.length)
  t.equal(secondsAt(index.mtime, raw), -1n)
  t.equal(secondsAt(index.ctime, raw), -62135596800n)
  const owner = index.owner[raw] ?? -1
  t.same([...index.owners.subarray(owner * 2, owner * 2 + 2)], [0xffff_ffff, 0xffff_fffe])
  const long = index.find(odd, Buffer.alloc(300, 0xff), 20, 275)
  t.equal(secondsAt(index.mtime, long), 2n ** 40n)
  t.equal(index.mtimeNs?.[long], 999_999_999)
  t.equal(index.ctimeNs?.[long], 1)
  t.equal(index.mode[rowAt(index, 'odd/mode')], 0o107777)
  t.equal(index.size[rowAt(index, 'odd/hole')], 2 ** 52)
  t.equal(index.first[rowAt(index, 'odd/dev')], 0xffff_ffff)
  const link = rowAt(index, 'odd/link')
  t.equal(index.count[link], 2)
  t.ok(index.names.subarray(index.first[link], (index.first[link] ?? 0) + 2).equals(RAW.subarray(1, 3)))
  t.equal(index.find(odd, Buffer.from('absent'), 0, 6), -1)
  t.equal(index.find(odd, Buffer.from('hol'), 0, 3), -1)
  t.equal(index.pathOf(rowAt(index, 'odd/hole')).toString(), 'odd/hole')
  const deep = Array.from({ length: 60 }, (_, level) => `level ${level}`).join('/')
  t.equal(index.pathOf(rowAt(index, deep)).toString(), deep)
  t.equal(index.nlink[0], 2 + 3)
})

void t.test('FlWriter writes hard links and extended attributes that readFl() gives back', async (t) => {
  const dir = t.testdir()
  writeArchive(`${dir}/nasty.fl`, fillNasty)
  const index = await compiled(`${dir}/nasty.fl`, `${dir}/nasty.idx`)
  t.teardown(() => index.close())
  const rows = ['odd/big', 'a-links/big again', 'a-links/big thrice'].map((path) => rowAt(index, path))
  const lowest = Math.min(...rows)
  t.ok(index.hasLinks && index.hasXattrs && index.hasAcls)
  t.equal(index.inodeCount, index.rowCount - 2)
  t.equal(index.blockCount, 4)
  t.equal(index.contentBytes, 2 * LIMITS.blockBytesMax + 1 + 1 + LIMITS.fileBytesMax)
  for (const row of rows) {
    t.equal(index.leader[row], lowest)
    t.equal(index.nlink[row], 3)
    t.equal(index.mode[row], 0o100644, 'attributes are the leader’s')
    t.equal(index.size[row], 2 * LIMITS.blockBytesMax + 1)
    t.equal(index.count[row], 3)
    t.equal(index.first[row], index.first[lowest])
    const found = index.xattrs(row).map(({ name, value }) => [name.toString(), [...value]])
    t.same(found, [
      ['system.posix_acl_access', [2, 0, 0, 0]],
      ['user.b', []],
    ])
  }
  const at = (index.first[lowest] ?? 0) * 32
  t.ok(index.ids.subarray(at, at + 96).equals(Buffer.concat([0, 1, 2].map((block) => hashOf(`id ${block}`)))))
  t.ok(index.keys.subarray(at, at + 96).equals(Buffer.concat([0, 1, 2].map((block) => hashOf(`key ${block}`)))))
  t.same(index.xattrs(0), [])
  // Older readers know no links: each name has the blocks.
  const database = new DatabaseSync(`${dir}/nasty.fl`, { readOnly: true })
  t.same(
    database
      .prepare('SELECT count(*) AS n FROM block GROUP BY ino ORDER BY ino')
      .all()
      .map(({ n }) => n),
    [3, 1, 3, 3],
  )
  t.equal(database.prepare('PRAGMA integrity_check').get()?.['integrity_check'], 'ok')
  database.close()
})

void t.test('FlWriter gives the same bytes for the same tree', (t) => {
  const dir = t.testdir()
  writeArchive(`${dir}/one.fl`, fillNasty)
  writeArchive(`${dir}/two.fl`, fillNasty)
  const bytes = readFileSync(`${dir}/one.fl`)
  t.ok(bytes.equals(readFileSync(`${dir}/two.fl`)))
  t.equal(bytes.readUInt32BE(24), bytes.readUInt32BE(92), 'the page count is valid')
  t.same(readdirSync(dir).sort(), ['one.fl', 'two.fl'])
  t.end()
})

void t.test('FlWriter writes rfs’s tables, and ours only where needed', (t) => {
  const dir = t.testdir()
  const tables = (path: string): unknown[] => {
    const database = new DatabaseSync(path, { readOnly: true })
    const rows = database.prepare('SELECT name FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY 1').all()
    database.close()
    return rows.map(({ name }) => name)
  }
  const plain = ['block', 'block_ino', 'extra', 'inode', 'names', 'parents', 'route', 'sqlite_sequence', 'tag']
  writeArchive(`${dir}/plain.fl`, (writer) => void writer.addInode(file(1, 'a')))
  t.same(tables(`${dir}/plain.fl`), plain)
  writeArchive(`${dir}/nasty.fl`, fillNasty)
  t.same(tables(`${dir}/nasty.fl`), [...plain, 'x_link', 'x_name', 'x_time', 'x_xattr'].sort())
  t.end()
})

void t.test('FlWriter leaves nothing behind when it gives up', (t) => {
  const dir = t.testdir()
  const writer = new FlWriter(`${dir}/x.fl`)
  t.throws(() => writer.finish(), RangeError)
  writer.abort()
  const another = new FlWriter(`${dir}/x.fl`)
  another.abort()
  another.abort()
  t.throws(() => another.addInode(folder(0, '')), RangeError)
  t.same(readdirSync(dir), [])
  t.end()
})

void t.test('FlWriter refuses what no archive may hold', (t) => {
  using writer = new FlWriter(`${t.testdir()}/x.fl`)
  const hash = hashOf('x')
  t.throws(() => writer.addInode(file(0, 'not a folder')), RangeError)
  t.throws(() => writer.addInode(folder(3, 'not in 0')), RangeError)
  t.equal(writer.addInode(folder(0, '')), 1)
  t.equal(writer.addInode(file(1, 'file', { size: 1 })), 2)
  t.equal(writer.addInode(file(1, 'name', { leader: 2 })), 3)
  const wrong: [string, () => unknown][] = [
    ['a parent that is a file', () => writer.addInode(file(2, 'x'))],
    ['a parent that is not there', () => writer.addInode(file(9, 'x'))],
    ['a leader that is a link', () => writer.addInode(file(1, 'x', { leader: 3 }))],
    ['a leader that is a folder', () => writer.addInode(file(1, 'x', { leader: 1 }))],
    ['no name', () => writer.addInode(file(1, ''))],
    ['a dot', () => writer.addInode(file(1, '..'))],
    ['a slash', () => writer.addInode(file(1, 'a/b'))],
    ['a long name', () => writer.addInode(file(1, 'n'.repeat(256)))],
    ['no type', () => writer.addInode(file(1, 'x', { mode: 0o644 }))],
    ['a link without target', () => writer.addInode(file(1, 'x', { mode: 0o120777 }))],
    ['an empty target', () => writer.addInode(file(1, 'x', { mode: 0o120777, target: Buffer.alloc(0) }))],
    ['a target of a file', () => writer.addInode(file(1, 'x', { target: Buffer.from('x') }))],
    ['a negative size', () => writer.addInode(file(1, 'x', { size: -1 }))],
    ['an owner', () => writer.addInode(file(1, 'x', { gid: 2 ** 32 }))],
    ['a device', () => writer.addInode(file(1, 'x', { rdev: 2 ** 32 }))],
    ['a time', () => writer.addInode(file(1, 'x', { mtime: 0.5 }))],
    ['a fraction', () => writer.addInode(file(1, 'x', { mtimeNs: 1e9 }))],
    ['an attribute', () => writer.addInode(file(1, 'x', { xattrs: [{ name: Buffer.from('no.space'), value: hash }] }))],
    ['blocks of a folder', () => writer.addBlock(1, hash, hash)],
    ['blocks of a link', () => writer.addBlock(3, hash, hash)],
    ['a short id', () => writer.addBlock(2, hash.subarray(1), hash)],
    ['a range', () => writer.addRoute(0, 256, 'dir:///x')],
  ]
  for (const [what, work] of wrong) t.throws(work, RangeError, what)
  t.equal(writer.addInode(file(1, 'last')), 4, 'what was refused has no number')
  t.end()
})
