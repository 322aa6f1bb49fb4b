import { describeError, FlistError } from '../base/index.ts'
import { listMounts, type MountListing } from '../kernel/index.ts'
import { askMount, findMount } from './ask-mount.ts'

/** What a server says of a mount. Counters are since the server began. */
export interface ServerStats {
  readonly archive: string
  readonly digest: string
  /** Of the server, since it goes on with the mount. */
  readonly uptimeSeconds: number
  readonly entries: number
  readonly contentBytes: number
  readonly blocks: { readonly total: number; readonly cached: number }
  readonly reads?: Readonly<Record<string, unknown>>
  readonly cache: Readonly<Record<string, unknown>>
  /** By opcode: count, p50Us, p99Us. */
  readonly requests: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  /** name, requests, bytes, failures, latencyMsSum. */
  readonly stores: readonly Readonly<Record<string, unknown>>[]
  /** Files that readers waited for most: path, waits, totalMs, worstMs. Servers before 0.2 do not say. */
  readonly waits?: readonly Readonly<Record<string, unknown>>[]
  readonly memory: Readonly<Record<string, unknown>>
  readonly logLevel?: string
  /** The file that requests are printed into. */
  readonly trace?: string
}

/** `startedAt`: when it was mounted, which its server may be younger than; ISO 8601. */
export type MountStats =
  | (ServerStats & { readonly directory: string; readonly startedAt: string })
  | { readonly directory: string; readonly error: { readonly code: string; readonly message: string } }

/** One mount's numbers, or all mounts' with the failures among them. Throws FLIST_NOT_MOUNTED, and for one mount what asking throws. */
export async function stats(directory: string | undefined, signal: AbortSignal): Promise<MountStats[]> {
  if (directory === undefined) return Promise.all(listMounts().map((listing) => askOrExplain(listing, signal)))
  return [await ask(await findMount(directory), signal)]
}

async function ask(listing: MountListing, signal: AbortSignal): Promise<MountStats> {
  const answer = (await askMount(listing, { op: 'stats' }, signal)) as ServerStats
  return { directory: listing.directory, startedAt: listing.startedAt, ...answer }
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
