import { lstatSync, readlinkSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { LIMITS, wordBytes, wordOf } from '../base/index.ts'
import { type MountEntry, topMount } from './mount-info.ts'
import { listMounts } from './registry.ts'
import { runSoon } from './run-soon.ts'

/*
 * Mounts by the names that users have for them. Whoever looks at a mount whose server is gone or hangs waits for ever, so names are
 * followed only up to the first mount that could.
 */

/** Milliseconds until a mount in which a name goes on answers, or is taken for one that does not. */
const ANSWER_MS = 1_000
/** A server is behind it: FUSE, networks. What lies under an overlay cannot always be told. */
const MAY_HANG = /^(?:fuse|overlay|nfs|cifs|smb|9p|ceph|afs)/

export interface Followed {
  /** Absolute. */
  readonly path: string
  /** False: the name goes on in a folder that was not touched, and what follows there stands as it was written. */
  readonly isWhole: boolean
}

/**
 * Follows the links of a name up to the first mount that may hang, which is not touched. That on `/` is: where it hangs, so does the
 * whole system.
 */
export function followName(mounts: readonly MountEntry[], name: string): Followed {
  const isClosed = (folder: string): boolean => folder !== '/' && MAY_HANG.test(topMount(mounts, folder)?.type ?? '')
  const left = partsOf(resolve(name))
  let at = '/'
  for (let links = 0; !isClosed(at) || left.at(-1) === '..';) {
    const part = left.pop()
    if (part === undefined) return { path: at, isWhole: true }
    const next = part === '..' ? dirname(at) : join(at, part)
    const target = part === '..' || isClosed(next) ? undefined : linkAt(next)
    links += target === undefined ? 0 : 1
    if (target === undefined || links > LIMITS.linksFollowedMax) {
      at = next
      continue
    }
    if (target.startsWith('/')) at = '/'
    left.push(...partsOf(target))
  }
  return { path: resolve(at, ...left.toReversed()), isWhole: left.length === 0 }
}

/** A path without links, where a mount that may hang answers for it in time. */
export async function realpathSoon(path: string): Promise<string | undefined> {
  const done = await runSoon('readlink', ['-f', '--', path], ANSWER_MS)
  return done === undefined || done.code !== 0 ? undefined : done.stdout.replace(/\n$/, '')
}

/** The mount that a name leads into, or to, as far as it can be told without touching what may hang. */
export function mountAbove(mounts: readonly MountEntry[], name: string): MountEntry | undefined {
  for (let { path } = followName(mounts, name); ; path = dirname(path)) {
    const found = topMount(mounts, path)
    if (found !== undefined || path === '/') return found
  }
}

/**
 * The mount at a directory as a user names it. A mount that may hang is asked for links that lead elsewhere, for a moment: one that
 * says nothing has none.
 */
export async function mountNamed(mounts: readonly MountEntry[], name: string): Promise<MountEntry | undefined> {
  const named = topMount(mounts, resolve(name))
  if (named !== undefined) return named
  const { path, isWhole } = followName(mounts, name)
  const followed = topMount(mounts, path)
  if (followed !== undefined || isWhole) return followed
  const real = await realpathSoon(path)
  return real === undefined ? undefined : topMount(mounts, real)
}

/** What to do about a name at which nothing of ours is mounted. */
export function hintInstead(mounts: readonly MountEntry[], name: string): string {
  const above = mountAbove(mounts, name)
  const isOurs = above !== undefined && listMounts(mounts).some(({ directory }) => directory === above.directory)
  return isOurs ? `It lies in the mount on "${above.directory}": name that` : 'See `flistfs list` for what is mounted'
}

/** From the last to the first. */
function partsOf(path: string): string[] {
  return path
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .toReversed()
}

function linkAt(path: string): string | undefined {
  try {
    const bytes = wordBytes(path)
    return lstatSync(bytes).isSymbolicLink() ? wordOf(readlinkSync(bytes, 'buffer')) : undefined
  } catch {
    // It is not there, or cannot be entered: whoever needs it will say so.
    return undefined
  }
}
