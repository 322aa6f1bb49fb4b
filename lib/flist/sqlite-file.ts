import { closeSync, fsyncSync, openSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
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

/** Gives a file that is complete its name, on the disk too. */
export function publishFile(temporary: string, path: string): void {
  syncPath(temporary)
  renameSync(temporary, path)
  syncPath(dirname(path))
}

function syncPath(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
