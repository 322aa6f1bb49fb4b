import { lstatSync, readlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { FlistError, systemCode, wordBytes, wordOf } from '../base/index.ts'
import { listMounts, type MountListing, passingChangesDir } from '../kernel/index.ts'
import { askMount } from './ask-mount.ts'
import type { WhyAnswer } from './why-answer.ts'

/** As many as the kernel follows. */
const LINKS_MAX = 40

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
  const { listing, rest } = locate(path, listMounts())
  const answer = (await askMount(listing, { op: 'why', path: wordBytes(rest).toString('hex') }, signal)) as WhyAnswer
  return { directory: listing.directory, ...answer, changed: isChanged(listing, answer) }
}

/** Goes along the path and follows links, up to the first folder where one of our mounts is. */
export function locate(
  path: string,
  mounts: readonly MountListing[],
): { readonly listing: MountListing; readonly rest: string } {
  const left = resolve(path).split('/').filter(Boolean).toReversed()
  let at = '/'
  let links = 0
  for (;;) {
    const here = at
    const listing = mounts.findLast(({ directory }) => directory === here)
    if (listing !== undefined) return { listing, rest: left.toReversed().join('/') }
    const name = left.pop()
    if (name === undefined) break
    if (name === '..') {
      at = resolve(at, '..')
      continue
    }
    const next = join(at, name)
    // A mount that hangs must not be asked whether it is a link.
    const target = mounts.some(({ directory }) => directory === next) ? undefined : linkAt(next)
    if (target === undefined) {
      at = next
      continue
    }
    links += 1
    if (links > LINKS_MAX) break
    if (target.startsWith('/')) at = '/'
    left.push(
      ...target
        .split('/')
        .filter((part) => part !== '' && part !== '.')
        .toReversed(),
    )
  }
  throw new FlistError('FLIST_NOT_MOUNTED', `Cannot explain "${path}": it is on no mount of ours`, {
    hint: 'See `flistfs list` for what is mounted',
  })
}

function linkAt(path: string): string | undefined {
  try {
    const bytes = wordBytes(path)
    return lstatSync(bytes).isSymbolicLink() ? wordOf(readlinkSync(bytes, 'buffer')) : undefined
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'EINVAL'].includes(systemCode(error))) return undefined
    throw new FlistError('FLIST_SYSTEM', `Cannot look at "${path}"`, { cause: error })
  }
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
