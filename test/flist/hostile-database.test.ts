import { readFileSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { FlistError } from '../../lib/base/index.ts'
import { archiveError, hasTable, openHostileDatabase } from '../../lib/flist/hostile-database.ts'

const dir = t.testdir()
let count = 0

function database(sql: string): string {
  const path = `${dir}/${(count += 1)} odd?name%20#.db`
  const made = new DatabaseSync(path)
  made.enableDefensive(false)
  made.exec(sql)
  made.close()
  return path
}

const PLAIN = 'CREATE TABLE entries (key VARCHAR(64) PRIMARY KEY, value BLOB);'
const ENDLESS =
  'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS key, 1 AS value FROM c WHERE x < 0'

void t.test('openHostileDatabase() reads the tables named and nothing else', (t) => {
  const path = database(
    `${PLAIN} INSERT INTO entries VALUES ('a', x'ff00'); CREATE TABLE other (x); CREATE VIEW v AS SELECT key FROM entries`,
  )
  const opened = openHostileDatabase(path, { tables: ['entries'], optional: ['metadata'] })
  t.same(opened.prepare('SELECT CAST(key AS BLOB) AS k, count(*) AS n FROM entries').get(), {
    k: Buffer.from('a'),
    n: 1,
  })
  t.ok(hasTable(opened, 'entries'))
  t.notOk(hasTable(opened, 'metadata'))
  const refused = [
    'SELECT * FROM other',
    'SELECT * FROM v',
    'SELECT randomblob(1000) FROM entries',
    "SELECT load_extension('x')",
    'PRAGMA query_only=OFF',
    "ATTACH ':memory:' AS m",
    'DELETE FROM entries',
    'CREATE TEMP TABLE x (y)',
    ENDLESS,
    'SELECT * FROM pragma_table_info(1)',
  ]
  for (const sql of refused) t.throws(() => opened.prepare(sql).get(), { code: 'ERR_SQLITE_ERROR' }, sql)
  opened.close()
  t.end()
})

void t.test('openHostileDatabase() refuses what is not a plain table', (t) => {
  const schemas = {
    nothing: 'CREATE TABLE x (y)',
    'a view': `CREATE VIEW entries AS ${ENDLESS}`,
    'a virtual table': 'CREATE VIRTUAL TABLE entries USING fts5(key, value)',
    'a computed column': 'CREATE TABLE entries (key, value AS (hex(zeroblob(100000000))))',
    'a stored computed column': 'CREATE TABLE entries (key, value AS (1) STORED)',
    'two of a name': `${PLAIN} PRAGMA writable_schema=ON; INSERT INTO sqlite_schema SELECT 'view', 'Entries', 'Entries', 0, 'CREATE VIEW "Entries" AS SELECT 1'`,
    'a table without pages': `${PLAIN} PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = 0`,
    'a table in the schema’s page': `${PLAIN} PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = 1`,
    'a table beyond the file': `${PLAIN} PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = 99999 WHERE type = 'index'`,
    'a table and index on one page': `${PLAIN} PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage = 2`,
    'text of UTF-16': `PRAGMA encoding='UTF-16'; ${PLAIN}`,
    'a schema without end': `${PLAIN} ${Array.from({ length: 1001 }, (_, i) => `CREATE VIEW v${i} AS SELECT 1;`).join('')}`,
  }
  for (const [name, sql] of Object.entries(schemas)) {
    t.throws(() => openHostileDatabase(database(sql), { tables: ['entries'] }), { code: 'FLIST_ARCHIVE_DAMAGED' }, name)
  }
  t.end()
})

void t.test('openHostileDatabase() refuses a tree whose pages point to one another', (t) => {
  const path = database(
    `PRAGMA page_size=512; ${PLAIN} WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 5000) INSERT INTO entries SELECT x, x FROM c`,
  )
  openHostileDatabase(path, { tables: ['entries'] }).close()
  const bytes = readFileSync(path)
  // The root of the table (page 2): its last child becomes its first one, then itself, then page 0, then no kind of page.
  const root = 512
  const first = bytes.readUInt32BE(root + bytes.readUInt16BE(root + 12))
  for (const child of [first, 2, 0, 0xffffffff]) {
    bytes.writeUInt32BE(child, root + 8)
    writeFileSync(path, bytes)
    t.throws(
      () => openHostileDatabase(path, { tables: ['entries'] }),
      { code: 'FLIST_ARCHIVE_DAMAGED' },
      `child ${child}`,
    )
  }
  bytes.writeUInt8(0, root)
  writeFileSync(path, bytes)
  t.throws(() => openHostileDatabase(path, { tables: ['entries'] }), /unknown kind 0/)
  bytes.writeUInt8(5, root)
  bytes.writeUInt16BE(0xffff, root + 3)
  writeFileSync(path, bytes)
  t.throws(() => openHostileDatabase(path, { tables: ['entries'] }), /65535 cells/)
  bytes.writeUInt16BE(1, root + 3)
  bytes.writeUInt16BE(511, root + 12)
  writeFileSync(path, bytes)
  t.throws(() => openHostileDatabase(path, { tables: ['entries'] }), /outside itself/)
  t.end()
})

void t.test('openHostileDatabase() refuses files that are no database', (t) => {
  const path = `${dir}/none.db`
  const header = Buffer.alloc(4096)
  header.write('SQLite format 3\0')
  header.writeUInt16BE(1000, 16)
  for (const bytes of [Buffer.alloc(0), Buffer.from('hello'), Buffer.alloc(4096), header]) {
    writeFileSync(path, bytes)
    t.throws(() => openHostileDatabase(path, { tables: ['entries'] }), { code: 'FLIST_ARCHIVE_DAMAGED' })
  }
  header.writeUInt16BE(1, 16)
  writeFileSync(path, header)
  t.throws(() => openHostileDatabase(path, { tables: ['entries'] }), { code: 'FLIST_ARCHIVE_DAMAGED' })
  t.throws(() => openHostileDatabase(`${dir}/absent`, { tables: [] }), { code: 'FLIST_NOT_FOUND' })
  t.throws(() => openHostileDatabase(dir, { tables: [] }), { code: 'FLIST_NOT_FOUND' })
  t.end()
})

void t.test('archiveError() says of damage that it is damage', (t) => {
  const path = database(`${PLAIN} INSERT INTO entries VALUES ('a', zeroblob(100000)), ('n', ${2n ** 60n})`)
  const small = openHostileDatabase(path, { tables: ['entries'], rowBytesMax: 1000 })
  t.throws(() => read(small, path, 'a'), { code: 'FLIST_ARCHIVE_DAMAGED' })
  t.throws(() => read(small, path, 'n'), { code: 'FLIST_ARCHIVE_DAMAGED', message: /too large/ })
  small.close()
  t.equal(read(openHostileDatabase(path, { tables: ['entries'] }), path, 'none'), undefined)
  const bug = new TypeError('ours')
  t.equal(archiveError(bug, path), bug)
  t.equal(archiveError('thrown', path), 'thrown')
  t.match(archiveError(Object.assign(new Error('no'), { code: 'EACCES' }), path), { code: 'FLIST_SYSTEM' })
  t.match(archiveError(Object.assign(new Error('no'), { code: 'ERR_SQLITE_ERROR', errcode: 7 }), path), {
    code: 'FLIST_SYSTEM',
  })
  t.ok(
    archiveError(Object.assign(new Error('no'), { code: 'ERR_SQLITE_ERROR', errcode: 267 }), path) instanceof
      FlistError,
  )
  t.end()
})

function read(opened: DatabaseSync, path: string, key: string): unknown {
  try {
    return opened.prepare('SELECT value FROM entries WHERE key = ?').get(key)
  } catch (error) {
    throw archiveError(error, path)
  }
}
