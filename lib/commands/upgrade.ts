import { setTimeout as sleep } from 'node:timers/promises'
import { FlistError } from '../base/index.ts'
import { isAlive, listMounts, mountNamed, type MountListing, readMounts, signalProcess } from '../kernel/index.ts'

/** Milliseconds until the new server must serve. */
const SERVE_MS = 20_000
const LOOK_EVERY_MS = 10

export interface UpgradeResult {
  readonly directory: string
  /** The server's process before and after. */
  readonly from: number
  readonly to: number
  /** Milliseconds until the new server served; readers wait for the last few of them. */
  readonly tookMs: number
}

/**
 * Puts the program that is on the disk now in the place of a mount's server, or of all mounts' servers; nothing is unmounted.
 * Throws FLIST_NOT_MOUNTED, FLIST_NOT_PERMITTED where a mount has no supervisor, FLIST_TIMEOUT.
 */
export async function upgrade(directory: string | undefined, signal: AbortSignal): Promise<UpgradeResult[]> {
  const results: UpgradeResult[] = []
  for (const listing of chosen(directory)) results.push(await replaceServer(listing, signal))
  return results
}

function chosen(directory: string | undefined): MountListing[] {
  const mounts = readMounts()
  const listings = listMounts(mounts).filter(({ state }) => state !== 'leaving')
  if (directory === undefined) return listings.filter(({ driver }) => driver === undefined)
  const at = mountNamed(mounts, directory)?.directory
  const found = listings.filter((listing) => listing.directory === at)
  if (found.length > 0) return found
  throw new FlistError('FLIST_NOT_MOUNTED', `Cannot upgrade "${directory}": no archive is mounted there`, {
    hint: 'See `flistfs list` for what is mounted',
  })
}

async function replaceServer(listing: MountListing, signal: AbortSignal): Promise<UpgradeResult> {
  const { supervisor, directory, driver } = listing
  if (driver !== undefined) {
    throw new FlistError('FLIST_NOT_PERMITTED', `Cannot upgrade "${directory}": ${driver} holds its device`, {
      hint: 'Unmount it and mount it again',
    })
  }
  if (supervisor === undefined || !isAlive(supervisor)) {
    throw new FlistError('FLIST_NOT_PERMITTED', `Cannot upgrade "${directory}": its supervisor is gone`, {
      hint: 'Mount it again: nobody holds its device but the server itself',
    })
  }
  // One that is being brought back is waited for: two successors would serve one device.
  const { pid } = await untilServed(listing, 0, signal)
  const began = performance.now()
  if (!signalProcess(supervisor, 'SIGUSR2')) {
    throw new FlistError('FLIST_NOT_PERMITTED', `Cannot upgrade "${directory}": it is another user's`, {
      hint: 'Run this as the user who mounted it, or as root',
    })
  }
  const now = await untilServed(listing, pid, signal)
  return { directory, from: pid, to: now.pid, tookMs: Math.round(performance.now() - began) }
}

/** The record of a mount once a server other than `old` has it. */
async function untilServed({ id, directory }: MountListing, old: number, signal: AbortSignal): Promise<MountListing> {
  const deadline = performance.now() + SERVE_MS
  while (performance.now() < deadline) {
    const now = listMounts().find((other) => other.id === id)
    if (now !== undefined && now.pid !== old && isAlive(now)) return now
    await sleep(LOOK_EVERY_MS, undefined, { signal })
  }
  throw new FlistError('FLIST_TIMEOUT', `Cannot see a server of "${directory}" within ${SERVE_MS} ms`, {
    hint: 'The supervisor tries on; `flistfs list` and the log (--log) say more',
  })
}
