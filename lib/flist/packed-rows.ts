import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { FlistError } from '../base/index.ts'
import { damaged } from './damage.ts'

/**
 * Scans a table in runs of row ids, many rows packed by SQL into one value: a million rows cost 0.4 s so, and 2 s as
 * objects (node:sqlite, 10 columns). `packed` is an SQL expression that is NULL for a row that breaks the rules.
 */
export interface PackedScan {
  table: string
  packed: string
  rowsPerRun: number
}

export class PackedRows {
  readonly #database: DatabaseSync
  #to = 0
  readonly #scan: PackedScan
  readonly #run: StatementSync
  readonly #next: StatementSync
  #from: number | undefined

  constructor(database: DatabaseSync, scan: PackedScan) {
    this.#database = database
    this.#scan = scan
    const { table, packed } = scan
    const run = `SELECT count(*), CAST(group_concat(${packed}, '') AS BLOB) FROM ${table} WHERE _rowid_ BETWEEN ? AND ?`
    requireRowIds(database, run, table)
    this.#run = database.prepare(run)
    this.#run.setReturnArrays(true)
    this.#next = database.prepare(`SELECT min(_rowid_) FROM ${table} WHERE _rowid_ >= ?`)
    this.#next.setReturnArrays(true)
    const first = database.prepare(`SELECT min(_rowid_) FROM ${table}`)
    first.setReturnArrays(true)
    this.#from = asNumber(first.get())
  }

  /** Goes on from this row id. */
  seek(rowId: number): void {
    this.#from = rowId
  }

  /** The next rows, packed and in order of their row ids, or undefined at the end. */
  next(): { rows: number; packed: Buffer } | undefined {
    while (this.#from !== undefined) {
      const from = this.#from
      const to = from + this.#scan.rowsPerRun - 1
      const [all, bytes] = asArray(this.#run.get(from, to))
      this.#to = to
      const after = to + 1
      this.#from = Number.isSafeInteger(after + this.#scan.rowsPerRun) ? after : undefined
      if (typeof all === 'number' && all > 0) {
        // Where every row breaks the rules.
        if (!(bytes instanceof Uint8Array)) throw this.broken()
        return { rows: all, packed: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) }
      }
      // Row ids may be far apart.
      if (this.#from !== undefined) this.#from = asNumber(this.#next.get(this.#from))
    }
    return undefined
  }

  /** The error for a run whose packed bytes are not those of its rows: names the inode of the first that breaks the rules. */
  broken(): FlistError {
    const { table, packed, rowsPerRun } = this.#scan
    const statement = this.#database.prepare(
      `SELECT CAST(ino AS TEXT) FROM ${table} WHERE _rowid_ BETWEEN ? AND ? AND (${packed}) IS NULL LIMIT 1`,
    )
    statement.setReturnArrays(true)
    const [ino] = asArray(statement.get(this.#to - rowsPerRun + 1, this.#to))
    const what = typeof ino === 'string' ? `inode ${ino.slice(0, 20)}` : 'an inode'
    return damaged(`${what} of table "${table}"`, 'a value is missing, too long, or of the wrong type')
  }
}

/** A table with a column named as the row id is would be read whole for each run. */
function requireRowIds(database: DatabaseSync, run: string, table: string): void {
  const plan = database.prepare(`EXPLAIN QUERY PLAN ${run}`).all(0, 0)
  const searches = plan.some((step) => String(step['detail']).includes('USING INTEGER PRIMARY KEY'))
  if (plan.length !== 1 || !searches) throw damaged(`table "${table}"`, 'its rows have no row ids')
}

function asArray(row: unknown): unknown[] {
  return Array.isArray(row) ? row : []
}

function asNumber(row: unknown): number | undefined {
  const [value] = asArray(row)
  return typeof value === 'number' ? value : undefined
}

const SPACE = 0x20
const MINUS = 0x2d
const ZERO = 0x30

/** Reads what the SQL packed: decimal integers each followed by a space, and byte strings of known length. */
export class PackedCursor {
  #bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** NaN where there is no integer; beyond 2^53 it is not exact, and not safe. */
  integer(): number {
    const bytes = this.#bytes
    let at = this.at
    const negative = bytes[at] === MINUS
    if (negative) at += 1
    const first = at
    let value = 0
    for (;;) {
      const digit = (bytes[at] ?? 0) - ZERO
      if (digit < 0 || digit > 9) break
      value = value * 10 + digit
      at += 1
    }
    if (at === first || bytes[at] !== SPACE) return NaN
    this.at = at + 1
    return negative ? -value : value
  }

  take(count: number): Buffer {
    const from = this.at
    this.at += count
    return this.#bytes.subarray(from, this.at)
  }

  get isAtEnd(): boolean {
    return this.at === this.#bytes.length
  }
}
