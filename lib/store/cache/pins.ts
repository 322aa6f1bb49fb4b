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
  const why = failure === undefined ? '' : `: ${systemReason(failure)}`
  throw new FlistError('FLIST_CACHE_UNUSABLE', `Cannot write the cache "${dir}"${why}`, {
    hint: 'Make room on its disk and see that the folder can be written, or name another with --cache',
  })
}
