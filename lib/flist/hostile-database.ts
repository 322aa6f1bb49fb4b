import { closeSync, fstatSync, openSync } from 'node:fs'
import { constants, DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { displayBytes, FlistError, LIMITS, systemCode } from '../base/index.ts'
import { DAMAGED_HINT } from './damage.ts'
import { checkTree, openPages } from './sqlite-pages.ts'

export interface HostileDatabaseOptions {
  /** Tables that must be there. Nothing but these, `optional` and `sqlite_schema` can be read. */
  tables: readonly string[]
  /** Tables that may be missing: ask `hasTable`. */
  optional?: readonly string[]
  /** Bytes of one row and of one value. */
  rowBytesMax?: number
  /** What messages call the file, where it is a temporary copy of a part of something. */
  shownPath?: string
}

/** Functions a reader may call; none runs longer than its argument is long. */
const FUNCTIONS = new Set([
  'coalesce',
  'count',
  'group_concat',
  'ifnull',
  'length',
  'max',
  'min',
  'octet_length',
  'sum',
  'total',
  'typeof',
])
const SCHEMA_ROWS_MAX = 1000
/** SQLite's own bound for one value, `SQLITE_MAX_LENGTH`. */
const SQLITE_LENGTH_MAX = 1_000_000_000

/**
 * Opens a database that a stranger wrote, for reading only. The tables named are known to be plain tables (no view, virtual table or
 * computed column stands in their place) whose pages form finite trees, so a scan visits at most one row for two bytes of the
 * file; rows may still share overflow pages, so who reads large values bounds their sum. Text is bytes: select `CAST(name AS BLOB)`.
 * The file is taken as it is: a journal or WAL beside it is not looked at.
 * Throws FLIST_ARCHIVE_DAMAGED or FLIST_NOT_FOUND; what its statements throw later goes through `archiveError`.
 */
export function openHostileDatabase(path: string, options: HostileDatabaseOptions): DatabaseSync {
  const shownPath = options.shownPath ?? path
  let database: DatabaseSync | undefined
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    const pages = openPages(fd, shownPath, fstatSync(fd).size)
    // Before SQLite reads the schema, which it does at the first statement.
    checkTree(pages, 1)
    database = openRestricted(path, options.rowBytesMax ?? 2 * LIMITS.tagBytesMax)
    const schema = readSchema(database, shownPath)
    const readable = new Set(['sqlite_master', 'sqlite_schema'])
    for (const name of [...options.tables, ...(options.optional ?? [])]) {
      const rows = schema.filter((row) => row.name === name)
      if (rows.length === 0 && !options.tables.includes(name)) continue
      checkTable(database, shownPath, name, rows)
      readable.add(name)
      for (const row of schema) if (row.table === name && row.rootPage !== 0) checkTree(pages, row.rootPage)
    }
    database.setAuthorizer((action, name, detail, _database, within) => allow(readable, action, name, detail, within))
    return database
  } catch (error) {
    database?.close()
    throw archiveError(error, shownPath)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function openRestricted(path: string, rowBytesMax: number): DatabaseSync {
  const url = pathToFileURL(path)
  // No locks and no journals: the archive is this file and nothing beside it.
  url.searchParams.set('immutable', '1')
  const database = new DatabaseSync(url, {
    readOnly: true,
    allowExtension: false,
    defensive: true,
    enableDoubleQuotedStringLiterals: false,
    limits: {
      length: Math.min(rowBytesMax, SQLITE_LENGTH_MAX),
      sqlLength: 64 * 1024,
      column: 100,
      exprDepth: 100,
      compoundSelect: 2,
      vdbeOp: 10_000,
      functionArg: 10,
      attach: 0,
      likePatternLength: 100,
      variableNumber: 100,
      triggerDepth: 1,
    },
  })
  database.exec(
    'PRAGMA trusted_schema=OFF; PRAGMA query_only=ON; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA automatic_index=OFF; PRAGMA temp_store=MEMORY',
  )
  return database
}

interface SchemaRow {
  type: string
  name: string
  table: string
  rootPage: number
  sql: string
}

function readSchema(database: DatabaseSync, path: string): SchemaRow[] {
  const rows: SchemaRow[] = []
  const select = database.prepare('SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema')
  select.setReturnArrays(true)
  for (const row of select.iterate() as Iterable<unknown>) {
    const [type, name, table, rootPage, sql] = row as unknown[]
    if (rows.length === SCHEMA_ROWS_MAX) throw damaged(path, `it has more than ${SCHEMA_ROWS_MAX} tables and indexes`)
    rows.push({
      type: String(type).toLowerCase(),
      name: String(name).toLowerCase(),
      table: String(table).toLowerCase(),
      rootPage: typeof rootPage === 'number' ? rootPage : 0,
      sql: String(sql),
    })
  }
  return rows
}

function checkTable(database: DatabaseSync, path: string, name: string, rows: SchemaRow[]): void {
  const [row] = rows
  if (row === undefined) throw damaged(path, `it has no table "${name}"`)
  if (rows.length > 1 || row.type !== 'table' || row.rootPage < 2 || !/^create\s+table\b/i.test(row.sql)) {
    throw damaged(path, `its "${name}" is not a plain table`)
  }
  // Where the schema's rows and SQLite's reading of them differ, the reading counts.
  const listed = database.prepare('SELECT type FROM pragma_table_list(?) WHERE schema = ?').get(name, 'main')
  if (listed?.['type'] !== 'table') throw damaged(path, `its "${name}" is not a plain table`)
  const computed = database.prepare('SELECT 1 FROM pragma_table_xinfo(?) WHERE hidden <> 0').get(name)
  if (computed !== undefined) throw damaged(path, `its table "${name}" has computed columns`)
}

function allow(
  readable: ReadonlySet<string>,
  action: number,
  name: string | null,
  detail: string | null,
  within: string | null,
): number {
  // `within` names the view or trigger that asks.
  if (within === null) {
    if (action === constants.SQLITE_SELECT) return constants.SQLITE_OK
    if (action === constants.SQLITE_READ && readable.has((name ?? '').toLowerCase())) return constants.SQLITE_OK
    if (action === constants.SQLITE_FUNCTION && FUNCTIONS.has((detail ?? '').toLowerCase())) return constants.SQLITE_OK
  }
  return constants.SQLITE_DENY
}

/** Whether the database has that table. For names given to `openHostileDatabase`, where it is then known to be a plain one. */
export function hasTable(database: DatabaseSync, name: string): boolean {
  return (
    database.prepare('SELECT 1 FROM sqlite_schema WHERE type = ? AND name = ? COLLATE NOCASE').get('table', name) !==
    undefined
  )
}

/** Codes of SQLite that say something of this machine and not of the file: IOERR, NOMEM, CANTOPEN, FULL, PERM. */
const MACHINE_CODES = new Set([3, 7, 10, 13, 14])

/** What reading a stranger's database throws, as an error for the operator. FlistErrors and faults of ours pass as they are. */
export function archiveError(error: unknown, path: string): unknown {
  if (error instanceof FlistError || !(error instanceof Error)) return error
  const code = systemCode(error)
  if (code === 'ENOENT' || code === 'EISDIR') {
    return new FlistError('FLIST_NOT_FOUND', `Cannot read "${shown(path)}": there is no such file`, {
      hint: 'Check the path',
      cause: error,
    })
  }
  // An integer beyond 2^53 that was not asked for as a bigint.
  if (code === 'ERR_OUT_OF_RANGE') return damaged(path, 'it has a number that is too large', error)
  if (code === 'ERR_SQLITE_ERROR' && 'errcode' in error && typeof error.errcode === 'number') {
    if (!MACHINE_CODES.has(error.errcode & 0xff)) return damaged(path, error.message, error)
  } else if (!code.startsWith('E') || code.startsWith('ERR_')) {
    return error
  }
  return new FlistError('FLIST_SYSTEM', `Cannot read "${shown(path)}": ${error.message}`, {
    hint: 'Look at the disk the archive is on: `dmesg` says what it complained of',
    cause: error,
  })
}

function damaged(path: string, why: string, cause?: unknown): FlistError {
  return new FlistError(
    'FLIST_ARCHIVE_DAMAGED',
    `Cannot read "${shown(path)}": ${why}`,
    cause === undefined ? { hint: DAMAGED_HINT } : { hint: DAMAGED_HINT, cause },
  )
}

function shown(path: string): string {
  return displayBytes(Buffer.from(path))
}
