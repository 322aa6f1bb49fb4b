import { realpathSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { FlistError, systemCode, systemReason } from '../base/index.ts'
import {
  clearDead,
  isMountOf,
  listMounts,
  mountAbove,
  mountNamed,
  type MountEntry,
  type MountListing,
  nameUsers,
  readMounts,
  runSoon,
} from '../kernel/index.ts'

/** Milliseconds. */
const ANSWER_MS = 10_000

export interface FreeDirectory {
  /** As the kernel will say it. */
  readonly path: string
  /** The mount that stands there had lost its servers, and goes on. */
  readonly revived: MountListing | undefined
}

/**
 * The folder to mount on. What a crash left there is no reason to refuse: a dead mount is cleared, and what stood on it told; one whose
 * device is held gets a server again, because whoever looks at the folder waits for that. Throws FLIST_MOUNT_FAILED, also where nobody
 * answers for ten seconds, and what `upgrade` throws. The same of a mount that the folder lies in.
 */
export async function freeDirectory(
  name: string,
  warn: (message: string) => void,
  signal: AbortSignal,
): Promise<FreeDirectory> {
  let mounts = readMounts()
  let revived: MountListing | undefined
  // First by its name alone: whoever looks at the folder waits for the mount that it lies in.
  for (const find of [mountAbove, mountNamed]) {
    const top = await find(mounts, name)
    const orphan = top && orphanOf(mounts, top)
    if (orphan !== undefined) {
      await (await import('./upgrade.ts')).adopt(orphan, signal)
      mounts = readMounts()
      revived = orphan
    } else if (find === mountAbove && top?.type.startsWith('fuse') === true) await waitForAnswer(name, top)
  }
  for (let isDisconnected = false; ; mounts = readMounts()) {
    // Before the folder is looked at: the overlay of a writable mount answers for itself although nothing below it does.
    const users = await clearDead(mounts, name, isDisconnected)
    if (users === undefined) {
      if (isDisconnected) throw notOurs(name)
      const top = await mountNamed(mounts, name)
      if (top?.type.startsWith('fuse') === true) await waitForAnswer(name, top)
      const path = checkDirectory(name)
      if (path !== undefined) return { path, revived: revived?.directory === path ? revived : undefined }
      isDisconnected = true
      continue
    }
    isDisconnected = false
    const named = nameUsers(users)
    if (named === '') continue
    warn(`The dead mount on "${name}" is cleared; what stood on it gets errors until it ends: ${named}`)
  }
}

function notOurs(name: string): FlistError {
  return new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${name}": a dead mount that is not ours is there`, {
    hint: `Unmount it first: umount -l ${name}`,
  })
}

/** Whoever looks at a mount that nobody serves waits for ever, so another process looks first, which can be killed. */
async function waitForAnswer(name: string, { directory }: MountEntry): Promise<void> {
  if ((await runSoon('sh', ['-c', '[ -d "$1" ]', 'sh', resolve(name)], ANSWER_MS)) !== undefined) return
  throw new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${name}": nobody answers for the mount that is there`, {
    hint: `Unmount it first: umount -l ${directory}`,
  })
}

function orphanOf(mounts: readonly MountEntry[], top: MountEntry): MountListing | undefined {
  return listMounts(mounts).find((listing) => listing.state === 'orphaned' && isMountOf(top, listing))
}

/** Undefined where a dead mount is. */
function checkDirectory(name: string): string | undefined {
  try {
    if (statSync(name).isDirectory()) return realpathSync(name)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOTCONN') return undefined
    throw new FlistError(
      'FLIST_MOUNT_FAILED',
      `Cannot mount on "${name}": ${code === 'ENOENT' ? 'no such folder' : systemReason(error)}`,
      {
        ...(code === 'ENOENT' ? { hint: `Make the folder first: mkdir -p ${name}` } : {}),
        cause: error,
      },
    )
  }
  throw new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${name}": it is not a folder`, {
    hint: 'Name a folder that is there, best an empty one',
  })
}
