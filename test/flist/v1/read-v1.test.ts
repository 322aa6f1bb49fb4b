import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { LIMITS } from '../../../lib/base/index.ts'
import type { Accounts } from '../../../lib/flist/v1/accounts.ts'
import { ROOT_KEY } from '../../../lib/flist/v1/layout.ts'
import { readV1, type ReadV1Options } from '../../../lib/flist/v1/read-v1.ts'
import { MemorySink } from './memory-sink.ts'
import { METADATA, SCHEMA, writeDatabase } from './test-archive.ts'
import { aciMessage, dirMessage, MessageWriter, type TestEntry } from './write-message.ts'

const dir = t.testdir()
const HASH = Buffer.alloc(16, 1)
const FILE: TestEntry = { name: 'file', kind: 'file', acl: 'acl' }
let files = 0

function newPath(): string {
  return `${dir}/${(files += 1)}.db`
}

async function read(path: string, options: Partial<ReadV1Options> = {}): Promise<MemorySink> {
  const sink = new MemorySink()
  await readV1(path, sink, { signal: new AbortController().signal, ...options })
  return sink
}

function tree(rows: Record<string, Buffer | string | null>, options: Partial<ReadV1Options> = {}): Promise<MemorySink> {
  return read(writeDatabase(newPath(), rows), options)
}

void t.test('readV1() follows references and believes the Inode of a folder', async (t) => {
  const sink = await tree({
    [ROOT_KEY]: dirMessage(
      [{ name: 'sub', kind: 'dir', text: 'any-key', acl: 'one', size: 7, times: [4294967295, 2147483648] }],
      { acl: 'two' },
    ),
    'any-key': dirMessage([FILE], { acl: 'two' }),
    one: aciMessage({ mode: 0o1777, uid: 1, gid: 2 }),
    two: aciMessage({ mode: 0o2755, uid: 3, gid: 4294967294 }),
    acl: aciMessage({ mode: 0o106755, uid: -2, gid: 0 }),
  })
  t.match(sink.at(0), { mode: 0o042755, uid: 3, gid: 4294967294, size: 4096, parent: -1, mtime: 0 })
  t.match(sink.at(1), { mode: 0o041777, uid: 1, gid: 2, size: 7, parent: 0, mtime: 4294967295, ctime: 2147483648 })
  t.match(sink.at(2), { mode: 0o106755, uid: 4294967294, gid: 0, parent: 1, blocks: { length: 0 } })
})

void t.test('readV1() asks the machine for owners that were recorded by name', async (t) => {
  const accounts: Accounts = { user: (name) => name.length, group: (name) => 10 * name.length }
  const rows = {
    [ROOT_KEY]: dirMessage([
      FILE,
      { ...FILE, name: 'b', acl: 'short' },
      { ...FILE, name: 'c', acl: 'none' },
      { name: 'd', kind: 'file' },
    ]),
    acl: aciMessage({ mode: 0o644, uname: 'abc', gname: 'xy' }),
    short: aciMessage({ mode: 0o4600, uname: 'a' }, 1),
  }
  const sink = await tree(rows, { accounts })
  t.match(sink.at(1), { uid: 3, gid: 20 })
  t.match(sink.at(2), { mode: 0o104600, uid: 1, gid: 0 })
  t.match(sink.at(3), { mode: 0o100400, uid: 1000, gid: 1000 }, 'a missing row')
  t.match(sink.at(4), { mode: 0o100400, uid: 1000, gid: 1000 }, 'no key')
})

void t.test('readV1() reads structs that are shorter or longer than ours', async (t) => {
  const writer = new MessageWriter()
  const [segment, word] = writer.struct([0, 0], 0, 3)
  const [list, first] = writer.structs([segment, word + 2], 1, 1, 1)
  writer.segment(list).writeUInt8(5, 8 * first)
  writer.text([list, first + 1], 'short')
  // No tag: a folder. No attributes: its key is empty.
  await t.rejects(tree({ [ROOT_KEY]: writer.finish() }), {
    code: 'FLIST_ARCHIVE_DAMAGED',
    message: /"short": the archive has no row/,
  })
  const long = new MessageWriter()
  const [root, at] = long.struct([0, 0], 4, 9)
  const [inodes, inode] = long.structs([root, at + 4 + 2], 1, 5, 4)
  long.segment(inodes).writeUInt16LE(2, 8 * inode + 8)
  long.text([inodes, inode + 5], 'link')
  const [link, inner] = long.struct([inodes, inode + 6], 2, 3)
  long.text([link, inner + 2], Buffer.from([0xff, 0x2f]))
  const sink = await tree({ [ROOT_KEY]: long.finish() })
  t.same(sink.at(1).target, Buffer.from([0xff, 0x2f]))
  t.match(sink.at(1), { mode: 0o120777, size: 2 })
})

void t.test('readV1() reads special files as what is known of them', async (t) => {
  const special = (name: string, type: number, text: string | undefined, acl = 'acl'): TestEntry => ({
    name,
    kind: 'special',
    type,
    acl,
    ...(text === undefined ? {} : { text }),
  })
  const sink = await tree({
    [ROOT_KEY]: dirMessage([
      special('a', 0, '8,1'),
      special('b', 0, '(nothing)'),
      special('c', 0, undefined),
      special('d', 1, '259,70000'),
      special('e', 2, ''),
      special('f', 3, '(nothing)'),
      special('g', 4, '1,3'),
      special('h', 0, '8,1', 'block'),
      special('i', 0, '', 'fifo'),
      special('j', 9, 'x'.repeat(100)),
    ]),
    acl: aciMessage({ mode: 0o600, uid: 0, gid: 0 }),
    block: aciMessage({ mode: 0o060640, uid: 0, gid: 0 }),
    fifo: aciMessage({ mode: 0o010640, uid: 0, gid: 0 }),
  })
  t.strictSame(
    sink.entries.slice(1).map(({ mode, rdev }) => [mode.toString(8), rdev]),
    [
      ['20600', 0x801],
      ['140600', 0],
      ['140600', 0],
      ['60600', 0x11110370],
      ['20600', 0],
      ['10600', 0],
      ['20600', 0x103],
      ['60640', 0x801],
      ['10640', 0],
      ['140600', 0],
    ],
  )
})

void t.test('readV1() refuses what breaks the format, and names the folder', async (t) => {
  const acl = aciMessage({ mode: 0o644, uid: 0, gid: 0 })
  const sub = (key: string): TestEntry => ({ name: 'sub', kind: 'dir', text: key, acl: 'acl' })
  const root = (...entries: TestEntry[]): Record<string, Buffer> => ({ [ROOT_KEY]: dirMessage(entries), acl })
  const trees: Record<string, [Record<string, Buffer | string | null>, RegExp]> = {
    'no root': [{ acl }, /"\/": the archive has no row/],
    'a root that is null': [{ [ROOT_KEY]: Buffer.alloc(16).fill(1, 4, 5) }, /"\/": its root is null/],
    'a value that is null': [{ [ROOT_KEY]: null }, /no row/],
    'text for a message': [{ [ROOT_KEY]: 'some text for a value' }, /"\/":/],
    'the two bytes zflist writes for a large folder': [{ [ROOT_KEY]: Buffer.from([0, 1]) }, /cut off after 2 bytes/],
    'a folder in itself': [root(sub(ROOT_KEY)), /"sub": .* is another folder's key/],
    'a ring of folders': [
      { ...root(sub('a')), a: dirMessage([sub('b')]), b: dirMessage([sub('a')]) },
      /"sub\/sub\/sub": /,
    ],
    'one folder in two places': [{ ...root(sub('a'), { ...sub('a'), name: 'again' }), a: dirMessage([]) }, /"again"/],
    'a missing row': [{ ...root(sub('a')), a: dirMessage([sub('gone')]) }, /"sub\/sub": the archive has no row "gone"/],
    'damage further down': [{ ...root(sub('a')), a: Buffer.alloc(7) }, /"sub": it is cut off/],
    'an unknown kind': [root({ ...FILE, tag: 4 }), /unknown kind 4/],
    'another block size': [root({ ...FILE, type: 64 }), /block size is 64/],
    'a short hash': [root({ ...FILE, blocks: [{ hash: HASH.subarray(1), key: HASH }] }), /15 bytes/],
    'a long key': [root({ ...FILE, blocks: [{ hash: HASH, key: Buffer.alloc(17) }] }), /17 bytes/],
    'a size beyond all files': [root({ ...FILE, size: 2 ** 53 }), /its? size 9007199254740992|more than/],
    'a device beyond the kernel': [root({ name: 'x', kind: 'special', text: '4096,1' }), /12 and 20 bits/],
    'a key of permissions that is too long': [root({ ...FILE, acl: 'x'.repeat(65) }), /65 bytes/],
    'a key of a folder that is too long': [root(sub('x'.repeat(65))), /66 bytes|65 bytes/],
    'permissions that are damaged': [{ ...root(FILE), acl: Buffer.alloc(3) }, /permissions "acl"/],
    'permissions that are null': [{ ...root(FILE), acl: Buffer.alloc(16).fill(1, 4, 5) }, /its root is null/],
    'an owner beyond all ids': [{ ...root(FILE), acl: aciMessage({ mode: 0, uid: 2 ** 32 }) }, /owner 4294967296/],
  }
  for (const [name, [rows, message]] of Object.entries(trees)) {
    await t.rejects(tree(rows), { code: 'FLIST_ARCHIVE_DAMAGED', message }, name)
  }
})

void t.test('readV1() ends at its limits', async (t) => {
  const rows: Record<string, Buffer> = {}
  for (let level = 0; level <= LIMITS.treeDepthMax; level += 1) {
    rows[level === 0 ? ROOT_KEY : `k${level}`] = dirMessage([{ name: 'd', kind: 'dir', text: `k${level + 1}` }])
  }
  await t.rejects(tree(rows), { code: 'FLIST_LIMIT' })
  const big = writeDatabase(newPath(), { [ROOT_KEY]: dirMessage([]) }, { key: 'x'.repeat(LIMITS.tagBytesMax + 1) })
  await t.rejects(read(big), { code: 'FLIST_LIMIT' })
})

void t.test('readV1() reads databases of every age', async (t) => {
  const rows = { [ROOT_KEY]: dirMessage([]) }
  t.strictSame((await tree(rows)).tags, new Map(), 'without metadata')
  const tagged = await read(writeDatabase(newPath(), rows, { backend: '{"host":"h","port":1}', note: 'ü' }))
  t.equal(tagged.tags.get('note'), 'ü')
  t.strictSame(tagged.routes, [{ start: 0, end: 255, url: 'zdb://h:1' }])
  const odd = writeDatabase(
    newPath(),
    rows,
    undefined,
    `${SCHEMA} ${METADATA} INSERT INTO metadata VALUES (NULL, 'x'), ('n', NULL), ('b', x'6162')`,
  )
  t.strictSame((await read(odd)).tags, new Map([['b', 'ab']]))
  const indexed = 'CREATE TABLE entries (key VARCHAR(64), value BLOB); CREATE INDEX entries_index ON entries(key)'
  t.equal((await read(writeDatabase(newPath(), rows, undefined, indexed))).entries.length, 1)
  const bare = 'CREATE TABLE entries (key VARCHAR(64), value BLOB)'
  await t.rejects(read(writeDatabase(newPath(), rows, undefined, bare)), { code: 'FLIST_ARCHIVE_DAMAGED' }, 'no index')
})

/** A chain of folders. Their messages are as long as leaves room for a few in one page, and the rest in 14 overflow pages each. */
function longChain(levels: number): Record<string, Buffer> {
  const rows: Record<string, Buffer> = {}
  for (let level = 0; level < levels; level += 1) {
    const message = dirMessage([{ name: 's', kind: 'dir', text: `k${level + 1}` }])
    rows[level === 0 ? ROOT_KEY : `k${level}`] = Buffer.concat([message], 489 + 10 + 14 * 4092)
  }
  return rows
}

void t.test('readV1() refuses a database that is cut off', async (t) => {
  const path = writeDatabase(newPath(), longChain(3))
  await t.rejects(read(path), /has no row "k3"/, 'as written')
  const bytes = readFileSync(path)
  writeFileSync(path, bytes.subarray(0, bytes.length - 4096))
  await t.rejects(read(path), { code: 'FLIST_ARCHIVE_DAMAGED', message: /malformed/ })
})

void t.test('readV1() refuses messages that share their pages', async (t) => {
  const path = writeDatabase(newPath(), longChain(5))
  await t.rejects(read(path), /has no row "k5"/, 'as written')
  const bytes = readFileSync(path)
  // Page 2 is the table: one leaf. All rows get the overflow pages of the first.
  t.same([bytes.readUInt8(4096), bytes.readUInt16BE(4096 + 3)], [0x0d, 5])
  const first = bytes.readUInt32BE(endOfCell(bytes, 4096, 0))
  for (let cell = 1; cell < 5; cell += 1) bytes.writeUInt32BE(first, endOfCell(bytes, 4096, cell))
  // The header counts the pages too.
  bytes.writeUInt32BE(3 + 14, 28)
  writeFileSync(path, bytes.subarray(0, 4096 * (3 + 14)))
  await t.rejects(read(path), { code: 'FLIST_ARCHIVE_DAMAGED', message: /longer than the database/ })
})

/** Where a cell's overflow page number stands (sqlite.org/fileformat2.html, 1.6): two varints, then the local part of the payload. */
function endOfCell(bytes: Buffer, leaf: number, cell: number): number {
  let at = leaf + bytes.readUInt16BE(leaf + 8 + 2 * cell)
  let payload = 0
  for (let more = true; more; at += 1) {
    payload = payload * 128 + (bytes.readUInt8(at) & 0x7f)
    more = bytes.readUInt8(at) >= 0x80
  }
  while (bytes.readUInt8(at) >= 0x80) at += 1
  const least = Math.floor(((4096 - 12) * 32) / 255) - 23
  const wanted = least + ((payload - least) % (4096 - 4))
  return at + 1 + (wanted <= 4096 - 35 ? wanted : least)
}

void t.test('readV1() tells how far it is, and stops when asked', async (t) => {
  const many = Array.from({ length: 20_000 }, (_, index): TestEntry => ({ name: `${index}`, kind: 'file' }))
  const rows = {
    [ROOT_KEY]: dirMessage([
      { name: 'a', kind: 'dir', text: 'a' },
      { name: 'b', kind: 'dir', text: 'b' },
    ]),
    a: dirMessage(many, { segmentWords: 502 }),
    b: dirMessage([]),
  }
  const seen: number[] = []
  await tree(rows, { onProgress: (entries) => seen.push(entries) })
  t.strictSame(seen, [20_003, 20_003])
  const controller = new AbortController()
  const stopped = tree(rows, { signal: controller.signal, onProgress: () => controller.abort() })
  await t.rejects(stopped, { code: 'FLIST_INTERRUPTED' })
  await t.rejects(tree(rows, { signal: AbortSignal.abort() }), { code: 'FLIST_INTERRUPTED' })
  await t.rejects(read(`${dir}/absent`), { code: 'FLIST_NOT_FOUND' })
})
