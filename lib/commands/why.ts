import { lstatSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { FlistError, wordBytes } from '../base/index.ts'
import {
  followName,
  listMounts,
  type MountListing,
  passingChangesDir,
  readMounts,
  realpathSoon,
} from '../kernel/index.ts'
import { askMount } from './ask-mount.ts'
import type { WhyAnswer } from './why-answer.ts'

export interface WhyResult extends WhyAnswer {
  readonly directory: string
  /** A writable mount has its own copy of the file: reading it does not ask the archive. */
  readonly changed: boolean
}

/**
 * Why a file on a mount is slow. The mount itself is not touched: it may hang. Throws FLIST_NOT_MOUNTED where the path is on
 * no mount, FLIST_USAGE where it is not in the archive, and what asking throws.
 */
export async function why(path: string, signal: AbortSignal): Promise<WhyResult> {
  const { listing, rest } = await locate(path)
  const answer = (await askMount(listing, { op: 'why', path: wordBytes(rest).toString('hex') }, signal)) as WhyAnswer
  return { directory: listing.directory, ...answer, changed: isChanged(listing, answer) }
}

/** Follows links up to a folder where one of our mounts is. */
async function locate(path: string): Promise<{ readonly listing: MountListing; readonly rest: string }> {
  const mounts = readMounts()
  const listings = listMounts(mounts)
  const { path: followed, isWhole } = followName(mounts, path)
  const found = placeIn(listings, followed) ?? (isWhole ? undefined : placeIn(listings, await realpathSoon(followed)))
  if (found !== undefined) return found
  throw new FlistError('FLIST_NOT_MOUNTED', `Cannot explain "${path}": it is on no mount of ours`, {
    hint: 'See `flistfs list` for what is mounted',
  })
}

function placeIn(
  listings: readonly MountListing[],
  path: string | undefined,
): { readonly listing: MountListing; readonly rest: string } | undefined {
  for (let at = path ?? '/'; path !== undefined; at = dirname(at)) {
    const folder = at
    const listing = listings.findLast(({ directory }) => directory === folder)
    if (listing !== undefined) return { listing, rest: path.slice(folder === '/' ? 1 : folder.length + 1) }
    if (at === '/') break
  }
  return undefined
}

function isChanged({ rw, cacheDir, id }: MountListing, answer: WhyAnswer): boolean {
  if (rw === undefined) return false
  const changes = rw.upper ?? passingChangesDir(cacheDir, id)
  const path = answer.pathHex === undefined ? Buffer.from(answer.path) : Buffer.from(answer.pathHex, 'hex')
  try {
    return lstatSync(Buffer.concat([Buffer.from(join(changes, 'upper/')), path])).isFile()
  } catch {
    return false
  }
}
