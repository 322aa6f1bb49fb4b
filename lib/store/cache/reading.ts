import { statSync } from 'node:fs'
import { geteuid } from 'node:process'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { FlistError, LIMITS } from '../../base/index.ts'
import { databaseInode, newerLayout, pragma } from './database.ts'
import { CACHE_LAYOUT, databasePath } from './layout.ts'

/** The index of a log that somebody has open is never shorter (SQLite's WAL format, 2.1). */
const INDEX_BYTES_MIN = 32_768

export interface ReadableDatabase {
  readonly db: DatabaseSync
  /** How its files were then: see `isStale`. */
  readonly stamp: string
}

/**
 * Opens `cache.db` for reading only, also on a disk that cannot be written: by its locks where a log and its index are there,
 * else as it lies. Undefined where there is none that may be read. Throws
 * FLIST_CACHE_UNUSABLE for a newer layout, SQLite's errors as they are.
 */
export function openForReading(cacheDir: string): ReadableDatabase | undefined {
  if (!mayBelieve(cacheDir)) return undefined
  const path = databasePath(cacheDir)
  const stamp = databaseStamp(cacheDir)
  // A log without rows, and an index that was never whole: what a full disk leaves of a try to open it.
  const logBytes = sizeOf(`${path}-wal`)
  const unlocked = logBytes < 0 || (logBytes === 0 && sizeOf(`${path}-shm`) < INDEX_BYTES_MIN)
  let db: DatabaseSync
  try {
    db = new DatabaseSync(path, { readOnly: true, timeout: LIMITS.cacheBusyTimeoutMs })
    checkReadable(db, cacheDir)
    return { db, stamp }
  } catch (error) {
    // A log without its index holds rows that nobody can reach here; what is in the file without it may be torn.
    if (error instanceof FlistError || !unlocked) throw error
  }
  const url = pathToFileURL(path)
  url.searchParams.set('immutable', '1')
  db = new DatabaseSync(url, { readOnly: true })
  checkReadable(db, cacheDir)
  return { db, stamp }
}

/**
 * True where there is no database, or one whose maker was killed before its tables were in it: the next one who may write makes them.
 */
export function isAbsent(cacheDir: string): boolean {
  if (databaseInode(cacheDir) === 0n) return true
  try {
    using db = new DatabaseSync(databasePath(cacheDir), { readOnly: true, timeout: LIMITS.cacheBusyTimeoutMs })
    return pragma(db, 'application_id') === 0 && pragma(db, 'user_version') === 0
  } catch {
    // What is wrong with it is found when it is opened to be read.
    return false
  }
}

/** Closes what it refuses. */
function checkReadable(db: DatabaseSync, cacheDir: string): void {
  try {
    const version = pragma(db, 'user_version')
    if (pragma(db, 'application_id') !== CACHE_LAYOUT.applicationId) throw new Error('not a database of this cache')
    if (version > CACHE_LAYOUT.version) throw newerLayout(cacheDir, version)
  } catch (error) {
    db.close()
    throw error
  }
}

/** Whose folder it is decides what we read: ours or root's, and nobody else may write there. */
function mayBelieve(cacheDir: string): boolean {
  const stat = statSync(`${cacheDir}/${CACHE_LAYOUT.folder}`, { throwIfNoEntry: false })
  if (stat?.isDirectory() !== true) return false
  return (stat.uid === geteuid?.() || stat.uid === 0) && (stat.mode & 0o022) === 0
}

/**
 * True when somebody has written since. Who cannot write the log's index holds no lock that a writer would respect, and keeps
 * files open that the next writer replaces: so it is opened anew.
 */
export function isStale(cacheDir: string, stamp: string): boolean {
  return databaseStamp(cacheDir) !== stamp
}

function databaseStamp(cacheDir: string): string {
  const path = databasePath(cacheDir)
  return ['', '-wal']
    .map((suffix) => {
      const stat = statSync(path + suffix, { bigint: true, throwIfNoEntry: false })
      return stat === undefined ? 'none' : `${stat.ino} ${stat.size} ${stat.mtimeNs}`
    })
    .join(' ')
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? -1
}
