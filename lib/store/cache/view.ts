import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { describeError, FlistError } from '../../base/index.ts'
import { unreadable } from './database.ts'
import type { Location } from './layout.ts'
import { isAbsent, openForReading } from './reading.ts'

const ROWS_TO_A_TURN = 4096
/** Of the small tables: one that is out of bounds would stop every statement that meets it. */
const NUMBERS = {
  meta: ['value'],
  process: ['n'],
  segment: ['id', 'bytes', 'used', 'writer', 'file_bytes'],
  run: ['n', 'segment', 'key_bytes'],
  claim: ['owner', 'until'],
  pin: ['n', 'key_bytes'],
} as const

/** How much of an archive is here. */
export interface Share {
  readonly blocks: number
  readonly bytes: number
}

export interface PinSummary {
  readonly name: string
  readonly blocks: number
}

/** Reads a cache without changing it, on a read-only disk too. Close it at the end. */
export class CacheView {
  readonly #dir: string
  readonly #db: DatabaseSync
  readonly #find: StatementSync

  private constructor(dir: string, db: DatabaseSync) {
    this.#dir = dir
    this.#db = db
    this.#find = db.prepare(`SELECT ${['segment', 'offset', 'bytes'].map(bounded).join(', ')} FROM block WHERE key = ?`)
    this.#find.setReturnArrays(true)
  }

  /** Undefined where there is no cache yet. Throws FLIST_CACHE_UNUSABLE. */
  static open(dir: string): CacheView | undefined {
    if (isAbsent(dir)) return undefined
    return explained(dir, () => {
      const readable = openForReading(dir)
      if (readable === undefined) throw new Error('it belongs to another user, or others may write it')
      return new CacheView(dir, readable.db)
    })
  }

  find(key: Uint8Array): Location | undefined {
    return explained(this.#dir, () => {
      const cells = this.#find.get(key) as unknown as [number, number, number] | undefined
      return cells === undefined ? undefined : { segment: cells[0], offset: cells[1], bytes: cells[2] }
    })
  }

  /** How many of these keys (back to back) are here, each as often as it is named; bytes are counted once. */
  async share(keys: Buffer, keyBytes: number, signal: AbortSignal): Promise<Share> {
    const seen = new Set<string>()
    let blocks = 0
    let bytes = 0
    for (let at = 0, nth = 0; at < keys.length; at += keyBytes, nth += 1) {
      const key = keys.subarray(at, at + keyBytes)
      const found = this.find(key)
      if (found !== undefined) {
        blocks += 1
        const name = `${found.segment} ${found.offset}`
        if (!seen.has(name)) bytes += found.bytes
        seen.add(name)
      }
      if (nth % ROWS_TO_A_TURN === 0) await nextTurn()
      signal.throwIfAborted()
    }
    return { blocks, bytes }
  }

  pins(): PinSummary[] {
    return explained(this.#dir, () =>
      this.#db
        .prepare('SELECT name, sum(length(keys) / key_bytes) AS blocks FROM pin GROUP BY name ORDER BY name')
        .all()
        .map((row) => ({ name: String(row['name']), blocks: Number(row['blocks']) })),
    )
  }

  /** What SQLite finds wrong with its own file, or a number that nobody wrote; undefined where all is well. */
  fault(): string | undefined {
    try {
      const row = this.#db.prepare('PRAGMA quick_check(1)').get()
      const said = String(row?.['quick_check'] ?? 'nothing')
      if (said !== 'ok') return said
      const odd = Object.entries(NUMBERS).find(([table, columns]) => {
        const isOdd = columns.map((column) => `${column} NOT BETWEEN 0 AND ${Number.MAX_SAFE_INTEGER}`).join(' OR ')
        return this.#db.prepare(`SELECT 1 FROM ${table} WHERE ${isOdd} LIMIT 1`).get() !== undefined
      })
      return odd && `a row of table ${odd[0]} is damaged`
    } catch (error) {
      return describeError(error)
    }
  }

  /** Every row, in steps that keep no transaction open: the log of a cache that mounts write must not grow meanwhile. */
  *rows(): Generator<{ key: Buffer; at: Location }[]> {
    const next = this.#db.prepare(
      `SELECT key, ${['segment', 'offset', 'bytes'].map(bounded).join(', ')} FROM block WHERE key > ? ORDER BY key LIMIT 4096`,
    )
    next.setReturnArrays(true)
    for (let after: Uint8Array = Buffer.alloc(0); ;) {
      const page = explained(this.#dir, () => next.all(after)) as unknown as [Uint8Array, number, number, number][]
      const last = page.at(-1)
      if (last === undefined) return
      yield page.map(([key, segment, offset, bytes]) => ({ key: Buffer.from(key), at: { segment, offset, bytes } }))
      after = last[0]
    }
  }

  segmentIds(): Set<number> {
    const rows = explained(this.#dir, () => this.#db.prepare('SELECT id FROM segment').all())
    return new Set(rows.map((row) => Number(row['id'])))
  }

  close(): void {
    if (this.#db.isOpen) this.#db.close()
  }
}

/** A damaged row may hold text, or a number that is none here: it becomes one that no location can have. */
function bounded(column: string): string {
  return `min(max(${column}, -1), 9007199254740991)`
}

function explained<T>(dir: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    if (cause instanceof FlistError) throw cause
    throw unreadable(dir, cause)
  }
}
