import { statSync } from 'node:fs'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { LIMITS } from '../../base/index.ts'
import { beyondLimit, damaged } from '../damage.ts'
import { archiveError, hasTable, openHostileDatabase } from '../hostile-database.ts'

/** Rows of the metadata table we take. */
const TAGS_MAX = 4096

/** The two tables of a v1 database. */
export class Entries {
  readonly #path: string
  readonly #database: DatabaseSync
  readonly #select: StatementSync
  #bytesLeft: number

  /** `shownPath` is what messages call it. Throws FLIST_ARCHIVE_DAMAGED, FLIST_NOT_FOUND. */
  constructor(path: string, shownPath: string) {
    this.#path = shownPath
    this.#database = openHostileDatabase(path, {
      tables: ['entries'],
      optional: ['metadata'],
      rowBytesMax: LIMITS.messageBytesMax,
      shownPath,
    })
    try {
      // Rows do not share bytes in a database that SQLite wrote; in one made to tire us they may.
      this.#bytesLeft = statSync(path).size
      this.#select = this.#prepareSelect()
    } catch (error) {
      this.#database.close()
      throw archiveError(error, shownPath)
    }
  }

  /** The message at that key (a Latin-1 string of its bytes), or undefined. */
  message(key: string): Uint8Array | undefined {
    let value: unknown
    try {
      value = this.#select.get(key)?.['value']
    } catch (error) {
      throw archiveError(error, this.#path)
    }
    if (!(value instanceof Uint8Array)) return undefined
    this.#bytesLeft -= value.length
    if (this.#bytesLeft < 0) throw damaged('this archive', 'its messages are longer than the database that holds them')
    return value
  }

  /** The metadata table, empty where there is none. Throws FLIST_LIMIT. */
  tags(): Map<string, string> {
    const tags = new Map<string, string>()
    if (!hasTable(this.#database, 'metadata')) return tags
    try {
      const select = this.#database.prepare(
        'SELECT CAST(key AS BLOB) AS key, CAST(value AS BLOB) AS value FROM metadata',
      )
      for (const { key, value } of select.iterate()) {
        if (!(key instanceof Uint8Array) || !(value instanceof Uint8Array)) continue
        if (tags.size === TAGS_MAX || key.length + value.length > LIMITS.tagBytesMax) {
          throw beyondLimit(
            'this archive',
            `it has more than ${TAGS_MAX} tags, or one of more than ${LIMITS.tagBytesMax} bytes`,
          )
        }
        tags.set(Buffer.from(key).toString(), Buffer.from(value).toString())
      }
    } catch (error) {
      throw archiveError(error, this.#path)
    }
    return tags
  }

  close(): void {
    if (this.#database.isOpen) this.#database.close()
  }

  /** By an index, or not at all: without one each folder would cost a scan. */
  #prepareSelect(): StatementSync {
    const sql = (index: string) => `SELECT CAST(value AS BLOB) AS value FROM entries INDEXED BY ${index} WHERE key = ?`
    try {
      // The name SQLite gives to the index of `key VARCHAR(64) PRIMARY KEY`.
      return this.#database.prepare(sql('sqlite_autoindex_entries_1'))
    } catch {
      return this.#database.prepare(sql('entries_index'))
    }
  }
}
