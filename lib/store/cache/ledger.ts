import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import { systemCode } from '../../base/index.ts'
import { databaseInode, faultOf, noteSegment, openDatabase } from './database.ts'
import { isPossible } from './layout.ts'
import { KnownKeys } from './known-keys.ts'
import type { Location } from './layout.ts'
import { isStale, openForReading } from './reading.ts'
import type { ReadableDatabase } from './reading.ts'
import { SQL } from './schema.ts'
import { isGone } from './writer-identity.ts'
import type { Identity } from './writer-identity.ts'

type Statements = Record<keyof typeof SQL, StatementSync>
type Cell = number | string | Uint8Array | null

export interface FoundRow {
  readonly location: Location
  /** Written, or verified, since the machine started. */
  readonly fresh: boolean
}

export interface SegmentRow {
  readonly id: number
  readonly kind: string
  readonly bytes: number
  /** Unix seconds. */
  readonly used: number
  readonly writer: number
}

export interface OwnSegment {
  readonly id: number
  readonly whole: boolean
  /** Sum of the blocks that have a row there. */
  readonly bytes: number
  /** Unix seconds. */
  readonly used: number
}

export interface ClaimRow {
  readonly owner: number
  /** Milliseconds since 1970. */
  readonly until: number
}

/** One open `cache.db`: every statement of the cache as a method. Synchronous; SQLite's errors come out as they are. */
export class Ledger {
  /** This boot's number: what rows with another one say is verified before it is believed. */
  readonly boot: number
  /** This opening's number: owner of claims and writer of segments. */
  readonly process: number
  readonly inode: bigint
  readonly isReadOnly: boolean
  readonly #db: DatabaseSync
  readonly #do: Statements
  readonly #me: Identity
  readonly #known = new KnownKeys(this)
  /** How the files were when it was opened for reading. */
  readonly #stamp: string
  readonly #dir: string

  /** `readable`: only for reading; then no row counts as fresh, and nothing may be written. */
  constructor(cacheDir: string, me: Identity, readable?: ReadableDatabase) {
    this.#me = me
    this.#dir = cacheDir
    this.#stamp = readable?.stamp ?? ''
    this.isReadOnly = readable !== undefined
    this.#db = readable?.db ?? openDatabase(cacheDir)
    try {
      this.inode = databaseInode(cacheDir)
      this.#do = prepareAll(this.#db)
      if (readable !== undefined) {
        this.boot = -1
        // 0 is who has left.
        this.process = -1
        return
      }
      this.#db.prepare('INSERT OR IGNORE INTO boot (boot_id) VALUES (?)').run(me.bootId)
      this.boot = Number(this.#db.prepare('SELECT n FROM boot WHERE boot_id = ?').get(me.bootId)?.['n'])
      this.process = this.#register()
    } catch (error) {
      this.#db.close()
      throw error
    }
  }

  /** For reading only; undefined where there is no database that may be read. */
  static forReading(cacheDir: string, me: Identity): Ledger | undefined {
    const readable = openForReading(cacheDir)
    return readable === undefined ? undefined : new Ledger(cacheDir, me, readable)
  }

  /** True when this was opened for reading, and somebody has written since. */
  isStale(): boolean {
    return this.isReadOnly && isStale(this.#dir, this.#stamp)
  }

  #register(): number {
    const insert = this.#db.prepare('INSERT INTO process VALUES (NULL, ?, ?, ?, ?)')
    return Number(insert.run(this.#me.bootId, this.#me.pidNamespace, this.#me.pid, this.#me.start).lastInsertRowid)
  }

  /** Runs `work` in one transaction; a failure undoes it and comes out. */
  transaction<T>(work: () => T): T {
    this.#do.begin.run()
    try {
      const result = work()
      this.#do.commit.run()
      return result
    } catch (error) {
      // A full disk may have rolled back already.
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw error
    }
  }

  find(key: Uint8Array): FoundRow | undefined {
    if (this.#known.lacks(key)) return undefined
    const row = this.#block(key)
    if (row === undefined) return undefined
    const location = { segment: Number(row[0]), offset: Number(row[1]), bytes: Number(row[2]) }
    return { location, fresh: row[3] === this.boot }
  }

  #block(key: Uint8Array): Cell[] | undefined {
    try {
      return cells(this.#do.find.get(key))
    } catch (error) {
      // A damaged row: a number that no offset can be. It counts as one that points nowhere.
      if (systemCode(error) !== 'ERR_OUT_OF_RANGE') throw error
      return [-1, -1, 0, this.boot]
    }
  }

  /** False when the key has a row already. */
  insert(key: Uint8Array, at: Location): boolean {
    this.#known.add(key)
    return this.#do.insert.run(key, at.segment, at.offset, at.bytes, this.boot).changes === 1
  }

  /** Learns a few thousand keys more, so that `find` need not ask for those that are absent. */
  learnKeys(): void {
    this.#known.learn()
  }

  keysAfter(key: Uint8Array, count: number): Uint8Array[] {
    return rows(this.#do.keysAfter.all(key, count)).map((row) => row[0] as Uint8Array)
  }

  dataVersion(): number {
    return Number(cells(this.#do.dataVersion.get())?.[0])
  }

  drop(key: Uint8Array, at: Location): void {
    // What a damaged row says may not even compare with itself.
    if (isPossible(at)) this.#do.drop.run(key, at.segment, at.offset)
    else this.#do.dropKey.run(key)
  }

  confirm(key: Uint8Array, at: Location): void {
    this.#do.confirm.run(key, at.segment, at.offset, this.boot)
  }

  addRun(segment: number, keys: readonly Buffer[]): void {
    for (const keyBytes of [16, 32]) {
      const some = keys.filter((key) => key.length === keyBytes)
      if (some.length > 0) this.#do.run.run(segment, keyBytes, Buffer.concat(some))
    }
  }

  /** The keys of up to 64 runs of a segment, which the segment then no longer lists. */
  takeRuns(segment: number): Buffer[] {
    const keys: Buffer[] = []
    for (const run of rows(this.#do.runsOf.all(segment))) {
      this.#do.dropRun.run(Number(run[0]))
      pushKeys(keys, run[2], Number(run[1]))
    }
    return keys
  }

  dropFrom(key: Uint8Array, segment: number): void {
    this.#do.dropFrom.run(key, segment)
  }

  claim(key: Buffer, until: number): boolean {
    return this.#do.claim.run(claimId(key), this.process, until, key).changes === 1
  }

  claimOf(key: Buffer): ClaimRow | undefined {
    const row = cells(this.#do.claimOf.get(claimId(key)))
    return row === undefined ? undefined : { owner: Number(row[0]), until: Number(row[1]) }
  }

  /** False when somebody was faster. */
  takeOver(key: Buffer, from: ClaimRow, until: number): boolean {
    return this.#do.takeOver.run(claimId(key), this.process, until, from.owner, from.until).changes === 1
  }

  release(key: Buffer): void {
    this.#do.release.run(claimId(key), this.process)
  }

  /** A missing row of `process` was deleted when its owner closed. */
  #gone(row: readonly Cell[]): boolean {
    const [bootId, pidNamespace, pid, start] = row
    if (typeof bootId !== 'string' || typeof pidNamespace !== 'string' || typeof start !== 'string') return true
    return isGone({ bootId, pidNamespace, pid: Number(pid), start }, this.#me)
  }

  /** True when the writer of a segment, or the owner of a claim, has closed or died. */
  writerGone(writer: number): boolean {
    if (writer === 0) return true
    const row = cells(this.#do.processOf.get(writer))
    return row === undefined || this.#gone(row)
  }

  /** True when the writer is in our pid namespace, so that `writerGone` can tell. */
  writerSeen(writer: number): boolean {
    return cells(this.#do.processOf.get(writer))?.[1] === this.#me.pidNamespace
  }

  newShared(now: number): number {
    const segment = Number(this.#do.newSegment.run('shared', now, this.boot, this.process, null, 0).lastInsertRowid)
    noteSegment(segment)
    return segment
  }

  /** A shared segment that its writer has left, with fewer than `bytesMax` bytes: ours from now on. */
  adopt(bytesMax: number): { id: number; bytes: number } | undefined {
    for (const row of rows(this.#do.adoptable.all(bytesMax))) {
      const [segment, writer] = [Number(row[0]), Number(row[1])]
      if (!this.writerGone(writer)) continue
      if (this.#do.adopt.run(segment, this.process, writer).changes === 1) return { id: segment, bytes: Number(row[2]) }
    }
    return undefined
  }

  seal(segment: number): void {
    this.#do.seal.run(segment, this.process)
  }

  /** The segment of a large file; `made`: the row is new, and its file is for the caller to make. Undefined while it is being removed. */
  ownSegment(owner: string, fileBytes: number, now: number): (OwnSegment & { made: boolean }) | undefined {
    const made = this.#do.newSegment.run('own', now, this.boot, 0, owner, fileBytes).changes === 1
    const found = this.findOwn(owner)
    if (found === undefined) return undefined
    noteSegment(found.id)
    return { ...found, made }
  }

  findOwn(owner: string): OwnSegment | undefined {
    const row = cells(this.#do.segmentOfOwner.get(owner))
    if (row === undefined || row[2] !== 0) return undefined
    return { id: Number(row[0]), whole: row[1] === this.boot, used: Number(row[3]), bytes: Number(row[4]) }
  }

  markWhole(segment: number): boolean {
    return this.#do.whole.run(segment, this.boot).changes === 1
  }

  /** False when the segment has been removed: nothing that lies there may get a row. */
  grow(segment: number, own: boolean, bytes: number, now: number): boolean {
    const statement = own ? this.#do.growOwn : this.#do.growShared
    return statement.run(segment, bytes, now).changes === 1
  }

  touch(segment: number, now: number): void {
    this.#do.touch.run(segment, now)
  }

  /** Uses that lie in the future were written before a clock was set back. */
  clampUses(now: number): void {
    this.#do.clampUses.run(now)
  }

  /** New segments get ids above this one. */
  raiseIds(above: number): void {
    this.#do.raise.run(above)
  }

  totalBytes(): number {
    return Number(cells(this.#do.total.get())?.[0] ?? 0)
  }

  /** All segments in the order in which they may go: half removed first, then least recently used. */
  victims(): SegmentRow[] {
    return rows(this.#do.victims.all()).map((row) => ({
      id: Number(row[0]),
      kind: String(row[1]),
      bytes: Number(row[2]),
      used: Number(row[3]),
      writer: Number(row[4]),
    }))
  }

  segmentIds(): Set<number> {
    return new Set(rows(this.#do.segmentIds.all()).map((row) => Number(row[0])))
  }

  markGoing(segment: number): void {
    this.#do.going.run(segment)
  }

  dropSegment(segment: number): void {
    this.#do.dropSegment.run(segment)
  }

  addPins(name: string, keys: Buffer, keyBytes: number): void {
    this.#do.pin.run(name, keyBytes, keys)
  }

  /** How many groups went. */
  removePins(name: string): number {
    return Number(this.#do.unpin.run(name).changes)
  }

  /** Pinned keys, one stored group at a time; `after` is the last group's `n`. */
  pinsAfter(after: number): { n: number; name: string; keys: Buffer[] } | undefined {
    const row = cells(this.#do.pinsAfter.get(after))
    if (row === undefined) return undefined
    const keys: Buffer[] = []
    pushKeys(keys, row[2], Number(row[1]))
    return { n: Number(row[0]), name: String(row[3]), keys }
  }

  setMeta(name: string, value: number): void {
    this.#do.setMeta.run(name, value)
  }

  /** Claims and rows of processes that died. */
  forgetDead(): void {
    for (const row of rows(this.#do.processes.all())) {
      if (!this.#gone(row.slice(1))) continue
      this.#do.releaseAll.run(Number(row[0]))
      this.#do.forgetProcess.run(Number(row[0]))
    }
  }

  /** Gives up every claim and this opening's number. Never throws; may be called again. */
  close(): void {
    if (!this.#db.isOpen) return
    if (this.isReadOnly) {
      this.#db.close()
      return
    }
    try {
      this.#do.releaseAll.run(this.process)
      this.#do.forgetProcess.run(this.process)
    } catch (error) {
      // The next process sees that the owner is gone.
      faultOf(error)
    }
    this.#db.close()
  }
}

function prepareAll(db: DatabaseSync): Statements {
  const prepared: Partial<Statements> = {}
  for (const name of Object.keys(SQL) as (keyof typeof SQL)[]) {
    const statement = db.prepare(SQL[name])
    statement.setReturnArrays(true)
    prepared[name] = statement
  }
  return prepared as Statements
}

/** 48 bits of the key: two keys that share them merely wait for each other. */
function claimId(key: Buffer): number {
  return key.readUIntBE(0, 6)
}

function cells(row: unknown): Cell[] | undefined {
  return row as Cell[] | undefined
}

function rows(found: unknown): Cell[][] {
  return found as Cell[][]
}

function pushKeys(into: Buffer[], blob: SQLInputValue | undefined, keyBytes: number): void {
  // A damaged row may say anything; a key of no bytes would never end.
  if (!(blob instanceof Uint8Array) || (keyBytes !== 16 && keyBytes !== 32)) return
  for (let at = 0; at + keyBytes <= blob.length; at += keyBytes)
    into.push(Buffer.from(blob.buffer, blob.byteOffset + at, keyBytes))
}
