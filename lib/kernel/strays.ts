import { rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { processStart } from './processes.ts'

/** Files of a mount beside its record, and what was being written of them: the id begins with the process that mounts. */
const OF_MOUNT = /^((\d+)-\w+)\.(?:sock|state|opens|pending|(?:json|state|opens)\.\d+\.tmp)$/
/** Where our own mount lies until the overlay of a writable one stands on it. */
const LOWER = /^lower-((\d+)-\w+)$/
const OF_KEY = /^[0-9a-f]{24}\.server\.(\d+)\.tmp$/

/**
 * Takes away what was left in the runtime folder by processes that were killed before there was a record to find it by, in this boot or
 * another. `hasRecord` knows the ids of mounts. A number that another process has now keeps it until that one has ended.
 */
export function forgetStrays(dir: string, names: readonly string[], hasRecord: (id: string) => boolean): void {
  for (const name of names) {
    const lower = LOWER.exec(name)
    const [, id, pid] = lower ?? OF_MOUNT.exec(name) ?? []
    const maker = pid ?? OF_KEY.exec(name)?.[1]
    if (maker === undefined || (id !== undefined && hasRecord(id)) || processStart(Number(maker)) !== undefined)
      continue
    const path = join(dir, name)
    if (lower === null) rmSync(path, { force: true })
    else removeEmpty(path)
  }
}

/** One that is still mounted stays, whatever is mounted there. */
function removeEmpty(path: string): void {
  try {
    rmdirSync(path)
  } catch {
    // EBUSY, or gone at this moment.
  }
}
