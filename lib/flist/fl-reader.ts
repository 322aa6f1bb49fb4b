import type { DatabaseSync } from 'node:sqlite'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { FlistError, LIMITS } from '../base/index.ts'
import { GrowingF64, GrowingU32 } from './columns.ts'
import { damaged } from './damage.ts'
import { kernelDevice, isDevice } from './file-type.ts'
import { readExtensions } from './fl-extensions.ts'
import { readRoutes, readTags } from './fl-settings.ts'
import { archiveError, openHostileDatabase } from './hostile-database.ts'
import { InoMap } from './ino-map.ts'
import { PackedCursor, PackedRows } from './packed-rows.ts'
import type { TreeSink } from './tree-sink.ts'

export interface ReadOptions {
  signal: AbortSignal
  /** Rows of inodes and blocks read so far. */
  onProgress?: ((rows: number) => void) | undefined
}

const HASH_BYTES = 32
const ROOT_INO = 1
const ROWS_PER_RUN = 1024
/** Rows between two looks at the clock and the signal. */
const ROWS_PER_TURN = 64 * 1024
/** A lossy name is longer than the one it stands for: three bytes for each that is not UTF-8. */
const STORED_NAME_BYTES_MAX = 4 * LIMITS.nameBytesMax

/** NULL for a row with a value that is no number (all numbers sort below all text) or a name too long. */
const INODE_PACKED = `CASE WHEN max(ino, parent, size, uid, gid, mode, rdev, ctime, mtime) < '' AND octet_length(name) <= ${STORED_NAME_BYTES_MAX} THEN
  ino || ' ' || parent || ' ' || size || ' ' || uid || ' ' || gid || ' ' || mode || ' ' || rdev || ' ' || ctime || ' ' || mtime || ' ' ||
  octet_length(name) || ' ' || name END`
const BLOCK_PACKED = `CASE WHEN typeof(ino) = 'integer' AND octet_length(id) = ${HASH_BYTES} AND octet_length(key) = ${HASH_BYTES}
  THEN id || key || ino || ' ' END`
const EXTRA_PACKED = `CASE WHEN typeof(ino) = 'integer' AND octet_length(data) <= ${LIMITS.linkTargetBytesMax}
  THEN ino || ' ' || octet_length(data) || ' ' || data END`

/** Reads an fl archive (`fl-v1-rfs.md` 1, `docs/format.md`) into `sink`. Throws FLIST_ARCHIVE_DAMAGED, FLIST_LIMIT, FLIST_INTERRUPTED. */
export async function readFl(path: string, sink: TreeSink, options: ReadOptions): Promise<void> {
  const database = openHostileDatabase(path, {
    tables: ['inode', 'extra', 'block', 'tag', 'route'],
    optional: ['x_xattr', 'x_link', 'x_time', 'x_name'],
  })
  try {
    const turns = new Turns(path, options)
    const inos = await readInodes(database, sink, turns)
    await readTargets(database, sink, inos, turns)
    await readBlocks(database, sink, inos, turns)
    await readExtensions(database, sink, inos, turns)
    readRoutes(database, sink)
    readTags(database, sink)
  } catch (error) {
    throw archiveError(error, path)
  } finally {
    database.close()
  }
}

/** Lets the process do other work from time to time, and ends the reading when the signal says so. */
export class Turns {
  readonly #path: string
  readonly #options: ReadOptions
  #rows = 0
  #pending = 0

  constructor(path: string, options: ReadOptions) {
    this.#path = path
    this.#options = options
  }

  /** True when it is time to `await turn()`. */
  isDue(rows: number): boolean {
    this.#pending += rows
    return this.#pending >= ROWS_PER_TURN
  }

  async turn(): Promise<void> {
    this.#rows += this.#pending
    this.#pending = 0
    this.#options.onProgress?.(this.#rows)
    await nextTurn()
    if (this.#options.signal.aborted) {
      throw new FlistError('FLIST_INTERRUPTED', `Cannot read "${this.#path}": interrupted`, {
        cause: this.#options.signal.reason,
      })
    }
  }
}

/** Adds the inode's number to what a sink says of its entry. */
export function namingInode(error: unknown, ino: number): unknown {
  if (!(error instanceof FlistError) || error.code !== 'FLIST_ARCHIVE_DAMAGED') return error
  const message = error.message.replace(/^Cannot use (inode [^,]*, )?/, `Cannot use inode ${ino}, `)
  return new FlistError(error.code, message, error.hint === undefined ? {} : { hint: error.hint })
}

async function readInodes(database: DatabaseSync, sink: TreeSink, turns: Turns): Promise<InoMap> {
  const scan = new InodeScan(database, sink)
  await turns.turn()
  for (let run = scan.rows.next(); run !== undefined; run = scan.rows.next()) {
    scan.addRun(new PackedCursor(run.packed), run.rows)
    if (turns.isDue(run.rows)) await turns.turn()
  }
  scan.setParents()
  return scan.inos
}

class InodeScan {
  readonly rows: PackedRows
  readonly inos: InoMap
  readonly #sink: TreeSink
  readonly #rootIno: number
  /** Entries that came before their parent. */
  readonly #waiting = new GrowingU32()
  readonly #wanted = new GrowingF64()

  constructor(database: DatabaseSync, sink: TreeSink) {
    this.#sink = sink
    this.#rootIno = findRoot(database)
    this.inos = new InoMap(this.#rootIno)
    this.rows = new PackedRows(database, { table: 'inode', packed: INODE_PACKED, rowsPerRun: ROWS_PER_RUN })
    const root = new PackedRows(database, { table: 'inode', packed: INODE_PACKED, rowsPerRun: 1 })
    root.seek(this.#rootIno)
    const run = root.next()
    if (run === undefined) throw root.broken()
    this.#addRow(new PackedCursor(run.packed), true)
  }

  addRun(cursor: PackedCursor, rows: number): void {
    for (let row = 0; row < rows; row += 1) this.#addRow(cursor, false)
    if (!cursor.isAtEnd) throw this.rows.broken()
  }

  #addRow(cursor: PackedCursor, asRoot: boolean): void {
    const ino = cursor.integer()
    const parent = cursor.integer()
    const size = cursor.integer()
    const uid = cursor.integer()
    const gid = cursor.integer()
    const mode = cursor.integer()
    const rdev = cursor.integer()
    const ctime = cursor.integer()
    const mtime = cursor.integer()
    const name = cursor.take(cursor.integer())
    // One that is not an integer leaves the cursor where it was, so all after it are none either.
    if (Number.isNaN(ino)) throw this.rows.broken()
    if (Number.isNaN(mtime)) throw damaged(`inode ${ino}`, 'a value of it is no whole number')
    if (!Number.isSafeInteger(ino) || ino < 1) throw damaged(`inode ${ino}`, 'its number is not 1 to 2^53')
    if (ino === this.#rootIno && !asRoot) return
    try {
      const device = isDevice(mode) ? kernelDevice(rdev) : 0
      if (device === undefined) throw damaged(`device ${rdev}`, 'the number has more than 12 and 20 bits')
      const entry = this.#sink.add(asRoot ? NO_NAME : name, mode, uid, gid, size, device, mtime, 0, ctime, 0)
      if (asRoot) checkRootParent(ino, parent)
      else this.#place(entry, ino, parent)
    } catch (error) {
      throw namingInode(error, ino)
    }
  }

  #place(entry: number, ino: number, parent: number): void {
    if (!this.inos.push(ino)) throw damaged(`inode ${ino}`, 'the number is there twice')
    if (parent === ino) throw damaged(`inode ${ino}`, 'it is its own parent')
    const above = this.inos.entryOf(parent)
    if (above >= 0) {
      this.#sink.setParent(entry, above)
      return
    }
    if (parent === 0) throw damaged(`inode ${ino}`, 'it is a second root')
    this.#waiting.push(entry)
    this.#wanted.push(parent)
  }

  setParents(): void {
    for (let at = 0; at < this.#waiting.length; at += 1) {
      const entry = this.#waiting.values[at] ?? 0
      const parent = this.#wanted.values[at] ?? 0
      const above = this.inos.entryOf(parent)
      if (above < 0) throw damaged(`inode ${this.inos.inoOf(entry)}`, `its parent ${parent} is not in the archive`)
      this.#sink.setParent(entry, above)
    }
  }
}

const NO_NAME = new Uint8Array(0)

/** Inode 1, as rfs has it; else the one whose parent is 0. */
function findRoot(database: DatabaseSync): number {
  const one = database.prepare('SELECT count(*) AS found FROM inode WHERE _rowid_ = ?').get(ROOT_INO)
  if (one?.['found'] === 1) return ROOT_INO
  const orphan = database.prepare('SELECT min(_rowid_) AS root FROM inode WHERE parent = 0').get()
  const root = orphan?.['root']
  if (typeof root !== 'number') throw damaged('this archive', 'it has no root: no inode 1, and none with parent 0')
  return root
}

function checkRootParent(ino: number, parent: number): void {
  if (parent !== 0 && parent !== ino) throw damaged(`inode ${ino}`, `it is the root and has parent ${parent}`)
}

async function readTargets(database: DatabaseSync, sink: TreeSink, inos: InoMap, turns: Turns): Promise<void> {
  const rows = new PackedRows(database, { table: 'extra', packed: EXTRA_PACKED, rowsPerRun: ROWS_PER_RUN / 4 })
  for (let run = rows.next(); run !== undefined; run = rows.next()) {
    const cursor = new PackedCursor(run.packed)
    for (let row = 0; row < run.rows; row += 1) {
      const ino = cursor.integer()
      const target = cursor.take(cursor.integer())
      if (Number.isNaN(ino)) throw rows.broken()
      try {
        sink.setTarget(knownEntry(inos, ino), target)
      } catch (error) {
        throw namingInode(error, ino)
      }
    }
    if (turns.isDue(run.rows)) await turns.turn()
  }
}

async function readBlocks(database: DatabaseSync, sink: TreeSink, inos: InoMap, turns: Turns): Promise<void> {
  const rows = new PackedRows(database, { table: 'block', packed: BLOCK_PACKED, rowsPerRun: ROWS_PER_RUN })
  for (let run = rows.next(); run !== undefined; run = rows.next()) {
    const cursor = new PackedCursor(run.packed)
    for (let row = 0; row < run.rows; row += 1) {
      const id = cursor.take(HASH_BYTES)
      const key = cursor.take(HASH_BYTES)
      const ino = cursor.integer()
      if (Number.isNaN(ino)) throw rows.broken()
      try {
        sink.addBlock(knownEntry(inos, ino), id, key)
      } catch (error) {
        throw namingInode(error, ino)
      }
    }
    if (turns.isDue(run.rows)) await turns.turn()
  }
}

/** The entry of an inode that another table speaks of. */
export function knownEntry(inos: InoMap, ino: number): number {
  const entry = inos.entryOf(ino)
  if (entry < 0) throw damaged(`inode ${ino}`, 'it is not in the archive')
  return entry
}
