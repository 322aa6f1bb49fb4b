import { closeSync, lstatSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { geteuid } from 'node:process'
import { DatabaseSync } from 'node:sqlite'
import { describeError, FlistError, LIMITS, makeFolder as makeFolderAt, systemCode } from '../../base/index.ts'
import { CACHE_LAYOUT, databasePath } from './layout.ts'
import { SCHEMA } from './schema.ts'

/** What a failed statement means for us. `broken`: the database's own bytes are wrong; `full`: nothing can be written now. */
export type DatabaseFault = 'busy' | 'broken' | 'full'

const SQLITE = { error: 1, busy: 5, locked: 6, corrupt: 11, notADatabase: 26 } as const

export function faultOf(error: unknown): DatabaseFault {
  // A number that none of us wrote: no statement that meets it would ever succeed.
  if (systemCode(error) === 'ERR_OUT_OF_RANGE') return 'broken'
  const code = sqliteCode(error)
  if (code === SQLITE.busy || code === SQLITE.locked) return 'busy'
  // SQLITE_ERROR is a table or column that is not there: all statements are ours and constant.
  if (code === SQLITE.corrupt || code === SQLITE.notADatabase || code === SQLITE.error) return 'broken'
  return 'full'
}

function sqliteCode(error: unknown): number {
  if (!(error instanceof Error) || !('errcode' in error)) return 0
  return typeof error.errcode === 'number' ? error.errcode & 0xff : 0
}

/**
 * Opens `cache.db`, making folder and tables where they are missing. Throws FLIST_CACHE_UNUSABLE for a layout newer than
 * ours and for a folder that others may write; SQLite's and the system's own errors as they are.
 */
export function openDatabase(cacheDir: string): DatabaseSync {
  makeFolder(cacheDir)
  const db = new DatabaseSync(databasePath(cacheDir), { timeout: LIMITS.cacheBusyTimeoutMs })
  try {
    db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL')
    // A checkpoint syncs the disk in the thread that answers reads: rather seldom and larger (WAL up to 32 MiB).
    db.exec('PRAGMA wal_autocheckpoint = 8000; PRAGMA journal_size_limit = 33554432')
    checkLayout(db, cacheDir)
  } catch (error) {
    db.close()
    throw error
  }
  return db
}

function checkLayout(db: DatabaseSync, cacheDir: string): void {
  if (
    pragma(db, 'user_version') === CACHE_LAYOUT.version &&
    pragma(db, 'application_id') === CACHE_LAYOUT.applicationId
  )
    return
  db.exec('BEGIN IMMEDIATE')
  try {
    const version = pragma(db, 'user_version')
    const application = pragma(db, 'application_id')
    if (application !== CACHE_LAYOUT.applicationId && (application !== 0 || version !== 0))
      throw new ForeignDatabaseError()
    if (version > CACHE_LAYOUT.version) throw newerLayout(cacheDir, version)
    db.exec(SCHEMA)
    db.prepare(
      "INSERT OR REPLACE INTO sqlite_sequence (rowid, name, seq) VALUES ((SELECT rowid FROM sqlite_sequence WHERE name = 'segment'), 'segment', ?)",
    ).run(firstSegment(cacheDir))
    db.exec(
      `PRAGMA application_id = ${CACHE_LAYOUT.applicationId}; PRAGMA user_version = ${CACHE_LAYOUT.version}; COMMIT`,
    )
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

/** A database of another program lies at our name: set aside like a damaged one. */
export class ForeignDatabaseError extends Error {
  override readonly name = 'ForeignDatabaseError'
  readonly errcode = SQLITE.notADatabase
}

/** What is said of a cache that cannot be read, and what to do about it. */
export function unreadable(cacheDir: string, cause: unknown): FlistError {
  return new FlistError('FLIST_CACHE_UNUSABLE', `Cannot read the cache "${cacheDir}": ${describeError(cause)}`, {
    hint:
      faultOf(cause) === 'broken'
        ? 'Run `flistfs cache verify --repair`: a damaged database starts anew, as it does at the next mount'
        : 'Check its owner and its disk, or name another with --cache',
    cause,
  })
}

/** What is said of a cache that a later flistfs has changed. */
export function newerLayout(cacheDir: string, version: number): FlistError {
  return new FlistError(
    'FLIST_CACHE_UNUSABLE',
    `Cannot use the cache "${cacheDir}": its layout is ${version}, this flistfs knows ${CACHE_LAYOUT.version}`,
    { hint: 'Use the newer flistfs, or name another folder with --cache' },
  )
}

export function pragma(db: DatabaseSync, name: string): number {
  const value = db.prepare(`PRAGMA ${name}`).get()?.[name]
  return typeof value === 'number' ? value : 0
}

let lastSegment = 0
const EPOCH_MS = Date.UTC(2024, 0, 1)

/** Segment ids must stay unique though a database is lost: mounts keep them in tables of their own. */
export function noteSegment(segment: number): void {
  if (segment > lastSegment) lastSegment = segment
}

/** Above every id on disk, every id of this process, and the seconds since 2024, which lie above what others remember. */
function firstSegment(cacheDir: string): number {
  const clock = Math.max(0, Math.floor((Date.now() - EPOCH_MS) / 1000))
  let first = Math.max(clock, lastSegment)
  for (const segment of segmentFiles(cacheDir)) first = Math.max(first, segment)
  return first
}

/** Ids of the segment files that lie where `segmentPath` says. Other files are not ours. */
export function segmentFiles(cacheDir: string): number[] {
  const root = `${cacheDir}/${CACHE_LAYOUT.folder}/${CACHE_LAYOUT.segments}`
  const found: number[] = []
  for (const folder of namesIn(root)) {
    if (!/^[0-9a-f]{2}$/.test(folder)) continue
    for (const name of namesIn(`${root}/${folder}`)) {
      const segment = /^([1-9]\d{0,9})\.seg$/.exec(name)?.[1]
      if (segment !== undefined && Number(segment) % 256 === Number.parseInt(folder, 16)) found.push(Number(segment))
    }
  }
  return found
}

/** Names in a folder, none where it cannot be read. */
export function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir)
  } catch {
    return []
  }
}

function makeFolder(cacheDir: string): void {
  const folder = `${cacheDir}/${CACHE_LAYOUT.folder}`
  makeFolderAt(cacheDir, 0o700)
  try {
    mkdirSync(folder, { mode: 0o700 })
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error
  }
  const stat = lstatSync(folder)
  // Root's may be read (`openForReading`).
  if (stat.isDirectory() && stat.uid === 0 && geteuid?.() !== 0) throw new Error('it belongs to root')
  // Who may write here decides what every later mount reads, or where our bytes go.
  const isTheirs = stat.uid !== geteuid?.()
  if (!stat.isDirectory() || isTheirs || (stat.mode & 0o022) !== 0) {
    const why = isTheirs ? 'another user owns' : 'others may write'
    throw new FlistError(
      'FLIST_CACHE_UNUSABLE',
      `Cannot use the cache "${cacheDir}": ${why} its folder "${CACHE_LAYOUT.folder}"`,
      {
        hint: isTheirs
          ? 'Run this as that user, or name a folder of your own with --cache'
          : 'Name a folder of your own with --cache, or take group and world write permission from it',
      },
    )
  }
}

/**
 * Renames a damaged database to `cache.db.damaged-TIME`, so that the next open starts anew. `inode` is what the caller
 * had open (0n: whatever lies there): a database that somebody else has replaced in the meantime is left alone.
 */
export function setAside(cacheDir: string, inode: bigint): void {
  const path = databasePath(cacheDir)
  const lock = `${path}.repair`
  if (!lockRepair(lock)) return
  try {
    if (inode !== 0n && databaseInode(cacheDir) !== inode) return
    const aside = `${path}.damaged-${Date.now()}`
    // The log first: beside a new database it would be taken for its own.
    for (const suffix of ['-wal', '-shm', '']) {
      try {
        renameSync(path + suffix, aside + suffix)
      } catch (error) {
        if (systemCode(error) !== 'ENOENT') throw error
      }
    }
  } finally {
    rmSync(lock, { force: true })
  }
}

const REPAIR_MS = 30_000

function lockRepair(lock: string): boolean {
  for (let tries = 0; tries < 2; tries += 1) {
    try {
      closeSync(openSync(lock, 'wx', 0o600))
      return true
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error
      const made = statSync(lock, { throwIfNoEntry: false })
      // A clock that was set back must not make the lock hold for years.
      if (made !== undefined && Math.abs(Date.now() - made.mtimeMs) < REPAIR_MS) return false
      rmSync(lock, { force: true })
    }
  }
  return false
}

/** 0n where there is none. */
export function databaseInode(cacheDir: string): bigint {
  try {
    return statSync(databasePath(cacheDir), { bigint: true, throwIfNoEntry: false })?.ino ?? 0n
  } catch {
    return 0n
  }
}
