import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { systemCode } from './errors.ts'

/**
 * Makes a folder and those above it; one that is there is right. Throws what mkdir(2) says. Node's own `recursive` says ENOENT of a
 * read-only disk, and never ends below /proc, where a folder that is there has no room for another.
 */
export function makeFolder(path: string, mode = 0o777): void {
  try {
    make(path, mode)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || dirname(path) === path) throw error
    makeFolder(dirname(path), mode)
    make(path, mode)
  }
}

function make(path: string, mode: number): void {
  try {
    mkdirSync(path, { mode })
  } catch (error) {
    // Some file systems say EROFS or EACCES of a folder that is there.
    if (systemCode(error) === 'ENOENT' || !isFolder(path)) throw error
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false
}
