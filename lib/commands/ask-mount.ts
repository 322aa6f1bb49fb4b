import { setTimeout as sleep } from 'node:timers/promises'
import { FlistError } from '../base/index.ts'
import {
  askControl,
  type ControlRequest,
  controlSocketPath,
  hintInstead,
  isAlive,
  isMountOf,
  listMounts,
  mountNamed,
  type MountListing,
  readMounts,
} from '../kernel/index.ts'

/** A server begins to listen a moment after the mount is there, which on a busy machine is seconds. */
const LISTEN_MS = 20_000
const POLL_MS = 20

/** The mount that is seen at a folder, or one of ours below another's. Throws FLIST_NOT_MOUNTED. */
export async function findMount(directory: string): Promise<MountListing> {
  const mounts = readMounts()
  const top = await mountNamed(mounts, directory)
  const there = listMounts(mounts).filter((listing) => listing.directory === top?.directory)
  const found = there.find((listing) => top !== undefined && isMountOf(top, listing)) ?? there.at(-1)
  if (found !== undefined) return found
  throw new FlistError('FLIST_NOT_MOUNTED', `Cannot ask "${directory}": no archive is mounted there`, {
    hint: hintInstead(mounts, directory),
  })
}

/** Asks the server of a mount. Throws what `askControl` throws. */
export async function askMount(listing: MountListing, request: ControlRequest, signal: AbortSignal): Promise<unknown> {
  for (const deadline = performance.now() + LISTEN_MS; ;) {
    try {
      return await askControl(controlSocketPath(listing.id), request, signal)
    } catch (error) {
      const absent = error instanceof FlistError && error.code === 'FLIST_NOT_MOUNTED'
      if (!absent || !isAlive(listing) || performance.now() > deadline) throw error
      await sleep(POLL_MS, undefined, { signal })
    }
  }
}
