import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { pathToFileURL } from 'node:url'
import { FIXED_CHANGE_COUNTER, FIXED_VERSION_NUMBER, SQLITE_HEADER } from './fl-schema.ts'

/** Sets what tells of the program that wrote a database and not of what is in it, and syncs the file. */
export function fixHeader(path: string): void {
  const fd = openSync(path, 'r+')
  try {
    const field = Buffer.alloc(4)
    const put = (value: number, at: number): void => {
      field.writeUInt32BE(value)
      writeSync(fd, field, 0, 4, at)
    }
    put(FIXED_CHANGE_COUNTER, SQLITE_HEADER.changeCounter)
    put(FIXED_CHANGE_COUNTER, SQLITE_HEADER.versionValidFor)
    put(FIXED_VERSION_NUMBER, SQLITE_HEADER.versionNumber)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * A new database in an empty file, of which only this process knows. Its locks are left out: on a network file system they would meet
 * the lock that says that the file is in use.
 */
export function newDatabase(path: string): DatabaseSync {
  const url = pathToFileURL(path)
  url.search = '?vfs=unix-none'
  const database = new DatabaseSync(url)
  database.exec('PRAGMA page_size=4096; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA threads=0')
  database.exec('PRAGMA locking_mode=EXCLUSIVE; PRAGMA encoding="UTF-8"; BEGIN')
  return database
}
