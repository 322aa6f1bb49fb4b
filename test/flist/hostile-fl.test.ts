import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { FlistError } from '../../lib/base/index.ts'
import { FlWriter } from '../../lib/flist/index.ts'
import { ATTRIBUTES, compiled, file, folder, hashOf, NEVER, thrownBy, writeArchive } from './helpers.ts'

/** 1 root, 2 folder, 3 file of one block in it, 4 link, 5 file, 6 device. */
function fill(writer: FlWriter): void {
  writer.addInode(folder(1, 'folder'))
  writer.addInode(file(2, 'file', { size: 10 }))
  writer.addBlock(3, hashOf('id'), hashOf('key'))
  writer.addInode({
    ...ATTRIBUTES,
    parent: 1,
    name: Buffer.from('link'),
    mode: 0o120777,
    size: 1,
    target: Buffer.from('t'),
  })
  writer.addInode(file(1, 'other'))
  writer.addInode({ ...ATTRIBUTES, parent: 1, name: Buffer.from('device'), mode: 0o020600, rdev: 259 })
  writer.addRoute(0, 255, 'dir:///x')
}

const X_LINK = 'CREATE TABLE x_link (ino INTEGER PRIMARY KEY, leader INTEGER);'
const X_XATTR = 'CREATE TABLE x_xattr (ino INTEGER, name BLOB, value BLOB);'
const X_TIME = 'CREATE TABLE x_time (ino INTEGER PRIMARY KEY, mtime_ns, ctime_ns);'
const X_NAME = 'CREATE TABLE x_name (ino INTEGER PRIMARY KEY, name BLOB);'
const LOOSE =
  'DROP TABLE inode; CREATE TABLE inode (ino INTEGER PRIMARY KEY, parent, name, size, uid, gid, mode, rdev, ctime, mtime);'
const ROOT = "INSERT INTO inode VALUES (1, 0, '/', 0, 0, 0, 16877, 0, 0, 0);"

/** What to do to the archive, and what the message must name. */
const HOSTILE: readonly [string, string, RegExp][] = [
  [
    'parents in a circle',
    "UPDATE inode SET parent = 7 WHERE ino = 2; INSERT INTO inode SELECT 7, 2, 'loop', 0, 0, 0, 16877, 0, 0, 0",
    /circle/,
  ],
  ['its own parent', 'UPDATE inode SET parent = 2 WHERE ino = 2', /inode 2\b/],
  ['an orphan', 'UPDATE inode SET parent = 99 WHERE ino = 3', /inode 3\b.*99/],
  ['a parent that is a file', 'UPDATE inode SET parent = 3 WHERE ino = 5', /other.*no folder/],
  ['two of one name', "UPDATE inode SET name = 'link' WHERE ino = 5", /"link"/],
  ['a second root', 'UPDATE inode SET parent = 0 WHERE ino = 2', /inode 2\b.*second root/],
  ['no root', 'DELETE FROM inode', /no root/],
  ['a root that is a file', 'UPDATE inode SET mode = 33188 WHERE ino = 1', /root/],
  ['a root inside', 'UPDATE inode SET parent = 2 WHERE ino = 1', /inode 1\b/],
  ['no type', 'UPDATE inode SET mode = 420 WHERE ino = 3', /inode 3\b.*type/],
  ['a mode of 17 bits', 'UPDATE inode SET mode = mode + 65536 WHERE ino = 3', /inode 3\b/],
  ['a negative mode', 'UPDATE inode SET mode = -1 WHERE ino = 3', /inode 3\b/],
  ['a negative size', 'UPDATE inode SET size = -1 WHERE ino = 3', /inode 3\b.*size/],
  ['a huge size', 'UPDATE inode SET size = 1 << 53 WHERE ino = 3', /inode 3\b.*size/],
  ['text for a size', "UPDATE inode SET size = 'ten' WHERE ino = 3", /inode 3\b/],
  ['numbers in text', "UPDATE inode SET size = '1 2 3' WHERE ino = 3", /inode 3\b/],
  ['bytes for a size', "UPDATE inode SET size = x'3130' WHERE ino = 3", /inode 3\b/],
  ['a fraction', 'UPDATE inode SET size = 1.5 WHERE ino = 3', /inode 3\b/],
  ['infinity', 'UPDATE inode SET mtime = 9e999 WHERE ino = 3', /inode 3\b/],
  ['a NULL', 'UPDATE inode SET uid = NULL WHERE ino = 3', /inode 3\b/],
  ['NULL in all', 'UPDATE inode SET uid = NULL', /inode 1\b/],
  ['a NULL name', 'UPDATE inode SET name = NULL WHERE ino = 3', /inode 3\b/],
  ['a uid', 'UPDATE inode SET uid = 1 << 32 WHERE ino = 3', /inode 3\b.*owner/],
  ['a gid', 'UPDATE inode SET gid = -1 WHERE ino = 3', /inode 3\b.*owner/],
  ['a time', 'UPDATE inode SET mtime = 9223372036854775807 WHERE ino = 3', /inode 3\b.*time/],
  ['a device', 'UPDATE inode SET rdev = 1 << 32 WHERE ino = 6', /inode 6\b/],
  ['a negative device', 'UPDATE inode SET rdev = -1 WHERE ino = 6', /inode 6\b/],
  ['a negative inode', 'UPDATE inode SET ino = -5 WHERE ino = 5', /inode -5\b/],
  ['inode 0', 'UPDATE inode SET ino = 0 WHERE ino = 5', /inode 0\b/],
  ['an inode beyond 2^53', 'UPDATE inode SET ino = 9223372036854775807 WHERE ino = 5', /too large|inode/],
  ['an empty name', "UPDATE inode SET name = '' WHERE ino = 5", /name is empty/],
  ['dots', "UPDATE inode SET name = '..' WHERE ino = 5", /"\.\."/],
  ['a slash', "UPDATE inode SET name = 'a/b' WHERE ino = 5", /slash/],
  ['a NUL', "UPDATE inode SET name = CAST(x'610062' AS TEXT) WHERE ino = 5", /NUL/],
  ['a name of 256 bytes', 'UPDATE inode SET name = hex(zeroblob(128)) WHERE ino = 5', /255/],
  ['a name of a megabyte', 'UPDATE inode SET name = hex(zeroblob(500000)) WHERE ino = 5', /inode 5\b/],
  ['blocks of a folder', 'UPDATE block SET ino = 2', /inode 2\b.*no file/],
  ['blocks of nothing', 'UPDATE block SET ino = 99', /inode 99\b/],
  ['more blocks than bytes', 'INSERT INTO block SELECT * FROM block', /2 blocks/],
  ['blocks of an empty file', 'UPDATE block SET ino = 5', /other.*1 blocks/],
  ['a short id', "UPDATE block SET id = x'00'", /inode 3\b/],
  ['a text id', "UPDATE block SET id = 'text'", /inode 3\b/],
  ['a NULL key', 'UPDATE block SET key = NULL', /inode 3\b/],
  ['a block of no inode', 'UPDATE block SET ino = NULL', /an inode/],
  ['a link without target', 'DELETE FROM extra', /link.*without target/],
  ['an empty target', "UPDATE extra SET data = ''", /inode 4\b/],
  ['a long target', 'UPDATE extra SET data = zeroblob(4096)', /inode 4\b/],
  ['a target with NUL', "UPDATE extra SET data = x'610062'", /inode 4\b/],
  ['a target of a file', 'UPDATE extra SET ino = 3; ', /inode 3\b/],
  ['a target of nothing', "INSERT INTO extra VALUES (99, 'x')", /inode 99\b/],
  ['a link to itself', `${X_LINK} INSERT INTO x_link VALUES (5, 5)`, /inode 5\b.*itself/],
  ['a link of other type', `${X_LINK} INSERT INTO x_link VALUES (5, 4)`, /other.*type/],
  ['a link to a folder', `${X_LINK} INSERT INTO x_link VALUES (5, 2)`, /folder/],
  ['links in a chain', `${X_LINK} INSERT INTO x_link VALUES (5, 3), (3, 5)`, /hard link to a hard link/],
  ['a link to nothing', `${X_LINK} INSERT INTO x_link VALUES (5, 99)`, /inode 5\b|inode 99/],
  ['no namespace', `${X_XATTR} INSERT INTO x_xattr VALUES (3, 'name', '')`, /inode 3\b.*namespaces/],
  ['only a namespace', `${X_XATTR} INSERT INTO x_xattr VALUES (3, 'user.', '')`, /inode 3\b/],
  ['an attribute twice', `${X_XATTR} INSERT INTO x_xattr VALUES (3, 'user.a', ''), (3, 'user.a', 'x')`, /twice/],
  ['a long value', `${X_XATTR} INSERT INTO x_xattr VALUES (3, 'user.a', zeroblob(65537))`, /inode 3\b/],
  [
    'a long attribute name',
    `${X_XATTR} INSERT INTO x_xattr VALUES (3, 'user.' || hex(zeroblob(126)), '')`,
    /inode 3\b/,
  ],
  ['a NULL value', `${X_XATTR} INSERT INTO x_xattr VALUES (3, 'user.a', NULL)`, /inode 3\b/],
  ['a fraction too large', `${X_TIME} INSERT INTO x_time VALUES (3, 1000000000, 0)`, /inode 3\b/],
  ['a fraction of text', `${X_TIME} INSERT INTO x_time VALUES (3, 'x', 0)`, /inode 3\b/],
  ['a raw name with slash', `${X_NAME} INSERT INTO x_name VALUES (3, '/')`, /slash/],
  ['a route beyond a byte', 'UPDATE route SET "end" = 256', /route/],
  ['a route without URL', 'UPDATE route SET url = NULL', /route/],
  ['a table gone', 'DROP TABLE block', /block/],
  ['a column gone', 'ALTER TABLE inode DROP COLUMN rdev', /rdev/],
  [
    'an inode that is no row id',
    'DROP TABLE inode; CREATE TABLE inode (ino, parent, name, size, uid, gid, mode, rdev, ctime, mtime);' +
      ROOT +
      ROOT +
      ROOT.replace("'/'", "'a'").replace('(1, 0', '(7, 1') +
      ROOT.replace("'/'", "'a'").replace('(1, 0', '(7, 1'),
    /inode 7\b.*twice/,
  ],
  [
    'a column named as the row id',
    'DROP TABLE inode; CREATE TABLE inode (_rowid_, ino INTEGER, parent, name, size, uid, gid, mode, rdev, ctime, mtime);' +
      ROOT.replace('(1', '(1, 1'),
    /row ids/,
  ],
  [
    'text in a loose column',
    `${LOOSE} ${ROOT} INSERT INTO inode VALUES (2, '1', 'a', 0, 0, 0, 33188, 0, 0, 0)`,
    /inode 2\b/,
  ],
]

for (const [what, sql, names] of HOSTILE) {
  void t.test(`readFl() refuses ${what}`, async (t) => {
    const dir = t.testdir()
    writeArchive(`${dir}/x.fl`, fill)
    const database = new DatabaseSync(`${dir}/x.fl`)
    database.exec(sql.startsWith('ALTER') ? sql : `PRAGMA foreign_keys=OFF; ${sql}`)
    database.close()
    const error = await thrownBy(() => compiled(`${dir}/x.fl`, `${dir}/x.idx`))
    if (!(error instanceof FlistError)) throw error ?? new Error('nothing was thrown')
    t.equal(error.code, 'FLIST_ARCHIVE_DAMAGED')
    t.match(error.message, names)
    t.match(error.message, /^Cannot /)
  })
}

void t.test('readFl() takes a root that is not inode 1, and inodes in any order', async (t) => {
  const dir = t.testdir()
  writeArchive(`${dir}/x.fl`, fill)
  const database = new DatabaseSync(`${dir}/x.fl`)
  // The root and the folder now come after what they hold, with wide gaps.
  database.exec('UPDATE inode SET ino = 9000000 WHERE ino = 1; UPDATE inode SET parent = 9000000 WHERE parent = 1')
  database.exec('UPDATE inode SET ino = 700000 WHERE ino = 2; UPDATE inode SET parent = 700000 WHERE parent = 2')
  database.close()
  const index = await compiled(`${dir}/x.fl`, `${dir}/x.idx`)
  const paths = Array.from({ length: index.rowCount }, (_, row) => index.pathOf(row).toString())
  t.same(paths, ['', 'device', 'folder', 'link', 'other', 'folder/file'])
  index.close()
})

void t.test('readFl() gives up when its signal says so', async (t) => {
  const dir = t.testdir()
  writeArchive(`${dir}/x.fl`, fill)
  const { compileArchive } = await import('../../lib/flist/index.ts')
  const options = { digest: '0'.repeat(64), signal: AbortSignal.abort() }
  t.match(await thrownBy(() => compileArchive(`${dir}/x.fl`, `${dir}/x.idx`, options)), { code: 'FLIST_INTERRUPTED' })
  const late = { ...options, signal: NEVER, stamp: 'another' }
  t.match(await thrownBy(() => compileArchive(`${dir}/x.fl`, `${dir}/x.idx`, late)), { code: 'FLIST_DIGEST_MISMATCH' })
})
