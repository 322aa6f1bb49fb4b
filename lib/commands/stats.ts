import { setTimeout as sleep } from 'node:timers/promises'
import { describeError, FlistError } from '../base/index.ts'
import {
  askControl,
  controlSocketPath,
  isAlive,
  listMounts,
  mountNamed,
  type MountListing,
  readMounts,
} from '../kernel/index.ts'

/** What a server says of a mount. Counters are since the server began. */
export interface ServerStats {
  readonly archive: string
  readonly digest: string
  readonly uptimeSeconds: number
  readonly entries: number
  readonly contentBytes: number
  readonly blocks: { readonly total: number; readonly cached: number }
  readonly cache: Readonly<Record<string, unknown>>
  /** By opcode: count, p50Us, p99Us. */
  readonly requests: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  /** name, requests, bytes, failures. */
  readonly stores: readonly Readonly<Record<string, unknown>>[]
  readonly memory: Readonly<Record<string, unknown>>
}

export type MountStats =
  | (ServerStats & { readonly directory: string })
  | { readonly directory: string; readonly error: { readonly code: string; readonly message: string } }

/** One mount's numbers, or all mounts' with the failures among them. Throws FLIST_NOT_MOUNTED, and for one mount what asking throws. */
export async function stats(directory: string | undefined, signal: AbortSignal): Promise<MountStats[]> {
  const mounts = readMounts()
  const listings = listMounts(mounts)
  if (directory === undefined) return Promise.all(listings.map((listing) => askOrExplain(listing, signal)))
  const at = mountNamed(mounts, directory)?.directory
  const wanted = listings.find((listing) => listing.directory === at)
  if (wanted === undefined) {
    throw new FlistError('FLIST_NOT_MOUNTED', `Cannot show "${directory}": no archive is mounted there`, {
      hint: 'See `flistfs list` for what is mounted',
    })
  }
  return [await ask(wanted, signal)]
}

/** A server begins to listen a moment after the mount is there. */
const LISTEN_MS = 2_000
const POLL_MS = 20

async function ask(listing: MountListing, signal: AbortSignal): Promise<MountStats> {
  for (const deadline = performance.now() + LISTEN_MS; ;) {
    try {
      const answer = (await askControl(controlSocketPath(listing.id), { op: 'stats' }, signal)) as ServerStats
      return { directory: listing.directory, ...answer }
    } catch (error) {
      const absent = error instanceof FlistError && error.code === 'FLIST_NOT_MOUNTED'
      if (!absent || !isAlive(listing) || performance.now() > deadline) throw error
      await sleep(POLL_MS, undefined, { signal })
    }
  }
}

async function askOrExplain(listing: MountListing, signal: AbortSignal): Promise<MountStats> {
  try {
    return await ask(listing, signal)
  } catch (error) {
    signal.throwIfAborted()
    const code = error instanceof FlistError ? error.code : 'FLIST_SYSTEM'
    return { directory: listing.directory, error: { code, message: describeError(error) } }
  }
}
