import { statfsSync } from 'node:fs'
import { FlistError, systemReason } from '../../base/index.ts'
import type { Connection } from './connection.ts'
import type { Ledger } from './ledger.ts'

const KEYS_TO_A_ROW = 4096

/** Blocks with these keys (back to back) stay until the pins of `name` are removed. `anew`: in the place of those it has. */
export function addPins(ledger: Ledger, name: string, keys: Buffer, keyBytes: 16 | 32, anew = false): void {
  const step = KEYS_TO_A_ROW * keyBytes
  ledger.transaction(() => {
    if (anew) ledger.removePins(name)
    for (let at = 0; at < keys.length; at += step) ledger.addPins(name, keys.subarray(at, at + step), keyBytes)
  })
}

/** The database for writing, for who cannot go on without. Throws FLIST_CACHE_UNUSABLE. */
export function demand(connection: Connection, dir: string): Ledger {
  const ledger = connection.usable()
  if (ledger !== undefined) return ledger
  const { failure } = connection
  throw unwritable(dir, failure)
}

/** What is said of a cache that could not be written, and what to do about it. */
export function unwritable(dir: string, cause: unknown): FlistError {
  if (cause instanceof FlistError) return cause
  const isFull = isFullDisk(dir)
  const why = isFull ? ': its disk is full' : cause === undefined ? '' : `: ${systemReason(cause)}`
  return new FlistError('FLIST_CACHE_UNUSABLE', `Cannot write the cache "${dir}"${why}`, {
    hint: isFull
      ? 'Make room on its disk, or unpin or unmount what `flistfs cache list` shows'
      : 'Make room on its disk and see that the folder can be written, or name another with --cache',
    cause,
  })
}

/** Less than SQLite takes for the index of its log and a page or two: it says then that input or output failed. */
const FULL_BYTES = 256 * 1024

/** True where the disk of a cache has no room even for a word; false too where that cannot be asked. */
export function isFullDisk(dir: string): boolean {
  try {
    const disk = statfsSync(dir)
    return disk.bavail * disk.bsize < FULL_BYTES
  } catch {
    return false
  }
}
