import { mkdirSync } from 'node:fs'
import { FlistError } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import { mountDevice, raiseReadahead, readMounts, requireOverlay, takeAway, topMount } from '../kernel/index.ts'
import { claimChanges, hideLower, mountOverlay, removeElderChanges } from '../runtime/index.ts'
import { MNT } from '../system/index.ts'
import { changesOf, leaveChanges, type MountPlace, type MountPlan, ownerOf } from './mount-plan.ts'

/** Who serves the mount: this process, or another one. In this order. */
export interface Host {
  /** The process. */
  readonly pid: number
  /** Makes all ready; what cannot be served is said before anything is mounted. */
  take(plan: MountPlan, signal: AbortSignal): Promise<void>
  /** The device is mounted: resolves when the kernel has had its first answer. */
  begin(signal: AbortSignal): Promise<void>
  /** All stands: from now on others see the mount. */
  settle(place: MountPlace, signal: AbortSignal): Promise<void>
  /** It came to nothing. */
  drop(): Promise<void>
}

/**
 * Mounts a plan's archive by a host that serves it. Whatever process mounts, it is in its tree of mounts, and what waits for the
 * kernel or a disk waits here. Leaves nothing behind where it throws: FLIST_MOUNT_FAILED, FLIST_NOT_PERMITTED, what the host throws.
 */
export async function mountThrough(
  host: Host,
  plan: MountPlan,
  index: FlistIndex,
  fd: number,
  signal: AbortSignal,
): Promise<void> {
  const { words, served, checked } = plan
  const { rw, suid, dev, allowOther, noexec, nosymfollow, source, subtype, directory, digest } = words
  const mounted: string[] = []
  let claimed = false
  try {
    if (rw !== undefined) {
      requireOverlay(directory)
      removeElderChanges(plan.words.cacheDir)
      claimChanges(changesOf(plan), digest, ownerOf(plan))
      claimed = true
      mkdirSync(served)
    }
    await host.take(plan, signal)
    signal.throwIfAborted()
    mountDevice(fd, { source, subtype, directory: served, suid, dev, allowOther, noexec, nosymfollow, checked })
    mounted.push(served)
    await host.begin(signal)
    const { minor } = mountedAt(served)
    raiseReadahead(minor)
    if (rw !== undefined) {
      await makeWritable(plan, index)
      mounted.push(directory)
    }
    await host.settle({ connection: minor, overlay: rw === undefined ? -1 : mountedAt(directory).minor }, signal)
  } catch (error) {
    // Nobody was told of this mount: it goes at once.
    for (const path of mounted.toReversed()) await takeAway(path, MNT.DETACH)
    await host.drop()
    if (claimed) await leaveChanges(plan)
    throw error
  }
}

function mountedAt(directory: string): { readonly minor: number } {
  const entry = topMount(readMounts(), directory)
  if (entry !== undefined) return entry
  throw new FlistError('FLIST_MOUNT_FAILED', `Cannot find "${directory}" among the mounts`)
}

async function makeWritable(plan: MountPlan, index: FlistIndex): Promise<void> {
  const { directory, source, suid, dev, noexec, nosymfollow } = plan.words
  const { mode, owner, owners, mtime, mtimeNs } = index
  const at = 2 * (owner[0] ?? 0)
  await mountOverlay({
    lower: plan.served,
    changes: changesOf(plan),
    directory,
    root: {
      mode: (mode[0] ?? 0) & 0o7777,
      uid: owners[at] ?? 0,
      gid: owners[at + 1] ?? 0,
      mtimeSeconds: ((mtime[0] ?? 0) >>> 0) + (mtime[1] ?? 0) * 2 ** 32,
      mtimeNs: mtimeNs?.[0] ?? 0,
      xattrs: index.xattrs(0),
    },
    suid,
    dev,
    noexec,
    nosymfollow,
    source,
  })
  await hideLower(plan.served)
}
