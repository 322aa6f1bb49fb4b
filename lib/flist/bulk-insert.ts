import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'

const ROWS_PER_STATEMENT = 32

/** Inserts rows into one table, many with one statement: a statement costs as much as several rows. */
export class BulkInsert {
  readonly #one: StatementSync
  readonly #many: StatementSync
  readonly #columns: number
  #values: SQLInputValue[] = []

  constructor(database: DatabaseSync, table: string, columns: number) {
    const row = `(${Array<string>(columns).fill('?').join(',')})`
    this.#columns = columns
    this.#one = database.prepare(`INSERT INTO ${table} VALUES ${row}`)
    this.#many = database.prepare(
      `INSERT INTO ${table} VALUES ${Array<string>(ROWS_PER_STATEMENT).fill(row).join(',')}`,
    )
  }

  /** `values` are kept until they are written: bytes among them must not change. */
  add(...values: SQLInputValue[]): void {
    for (const value of values) this.#values.push(value)
    if (this.#values.length < this.#columns * ROWS_PER_STATEMENT) return
    this.#many.run(...this.#values)
    this.#values.length = 0
  }

  flush(): void {
    for (let at = 0; at < this.#values.length; at += this.#columns) {
      this.#one.run(...this.#values.slice(at, at + this.#columns))
    }
    this.#values.length = 0
  }
}
