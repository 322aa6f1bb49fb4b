import { closeSync, openSync } from 'node:fs'
import { ERRNO } from '../base/index.ts'
import { lockWhole } from '../system/index.ts'
import { listMounts, recordPath } from './registry.ts'

/**
 * Takes a mount that nobody serves for this process: of all that would go on with it, one does. Undefined where another one is about to,
 * or has. It is let go of when its record names the process, at the latest by the end of that: the lock is on the record as it is now.
 */
export function claimOrphan(id: string): Disposable | undefined {
  let fd: number
  try {
    fd = openSync(recordPath(id), 'r')
  } catch {
    // Unmounted meanwhile.
    return undefined
  }
  const isOthers = lockWhole(fd) === -ERRNO.EAGAIN
  // Now nobody changes it, but whoever did so before.
  if (!isOthers && listMounts().some((listing) => listing.id === id && listing.state === 'orphaned')) {
    return { [Symbol.dispose]: () => closeSync(fd) }
  }
  closeSync(fd)
  return undefined
}
