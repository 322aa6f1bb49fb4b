import { LIMITS } from '../../base/index.ts'
import type { Ledger } from './ledger.ts'
import type { Location } from './layout.ts'

interface PendingRow {
  readonly key: Buffer
  readonly at: Location
  readonly own: boolean
}

/** What one process will write to the database in its next transaction. */
export class Batch {
  /** Rows by `nameOf(key)`: these blocks can be found here before the database knows them. */
  readonly rows = new Map<string, PendingRow>()
  #drops: { key: Buffer; at: Location }[] = []
  #confirms: { key: Buffer; at: Location }[] = []
  #releases: Buffer[] = []
  #touched = new Map<number, number>()

  get isEmpty(): boolean {
    return (
      this.rows.size + this.#drops.length + this.#confirms.length + this.#releases.length + this.#touched.size === 0
    )
  }

  add(key: Buffer, at: Location, own: boolean): void {
    this.rows.set(nameOf(key), { key, at, own })
  }

  /** The row that says `key` lies at `at` is wrong. */
  drop(key: Buffer, at: Location): void {
    this.rows.delete(nameOf(key))
    this.#drops.push({ key, at })
  }

  /** `at` was verified in this boot. */
  confirm(key: Buffer, at: Location): void {
    this.#confirms.push({ key, at })
  }

  /** The claim on `key` ends with this transaction, together with the row. */
  release(key: Buffer): void {
    this.#releases.push(key)
  }

  touch(segment: number, now: number): void {
    this.#touched.set(segment, now)
  }

  /** Inside a transaction, before claims: a row that is wrong must not stand in the way of a claim. */
  writeDrops(ledger: Ledger): void {
    for (const { key, at } of this.#drops) ledger.drop(key, at)
  }

  /** After the transaction with `writeDrops`. */
  clearDrops(): void {
    this.#drops = []
  }

  /** Inside a transaction. Returns the segments that were removed meanwhile: what was put there is lost. */
  write(ledger: Ledger, now: number): number[] {
    this.writeDrops(ledger)
    for (const { key, at } of this.#confirms) ledger.confirm(key, at)
    const lost: number[] = []
    for (const [segment, rows] of this.#bySegment()) {
      if (!writeRows(ledger, segment, rows, now)) lost.push(segment)
    }
    for (const key of this.#releases) ledger.release(key)
    for (const [segment, used] of this.#touched) ledger.touch(segment, used)
    return lost
  }

  #bySegment(): Map<number, PendingRow[]> {
    const groups = new Map<number, PendingRow[]>()
    for (const row of this.rows.values()) {
      const group = groups.get(row.at.segment)
      if (group === undefined) groups.set(row.at.segment, [row])
      else group.push(row)
    }
    return groups
  }

  clear(): void {
    this.rows.clear()
    this.#drops = []
    this.#confirms = []
    this.#releases = []
    this.#touched.clear()
  }

  /** While the database cannot be written: forgets the oldest of what waits, so that memory stays bounded. */
  trim(): void {
    for (const name of this.rows.keys()) {
      if (this.rows.size <= LIMITS.cachePendingRowsMax) break
      this.rows.delete(name)
    }
    const max = LIMITS.cachePendingRowsMax
    if (this.#drops.length > max) this.#drops = this.#drops.slice(-max)
    if (this.#confirms.length > max) this.#confirms = []
    if (this.#releases.length > max) this.#releases = this.#releases.slice(-max)
  }

  dropSegment(segment: number): void {
    for (const [name, row] of this.rows) if (row.at.segment === segment) this.rows.delete(name)
  }
}

function writeRows(ledger: Ledger, segment: number, rows: readonly PendingRow[], now: number): boolean {
  const own = rows[0]?.own === true
  let end = 0
  for (const { at } of rows) end = Math.max(end, at.offset + at.bytes)
  if (!ledger.grow(segment, own, own ? 0 : end, now)) return false
  const keys: Buffer[] = []
  let bytes = 0
  for (const { key, at } of rows) {
    if (!ledger.insert(key, at)) continue
    keys.push(key)
    bytes += at.bytes
  }
  if (own && bytes > 0) ledger.grow(segment, own, bytes, now)
  ledger.addRun(segment, keys)
  return true
}

/** A key as a Map's key: one character a byte. */
export function nameOf(key: Buffer): string {
  return key.toString('latin1')
}
