import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { FlistError } from '../base/index.ts'
import {
  hintInstead,
  isAlive,
  listMounts,
  mountNamed,
  type MountListing,
  readMounts,
  sharedKey,
  signalProcess,
} from '../kernel/index.ts'

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

/** One that could not be upgraded; it is served as before. */
export interface UpgradeFailure {
  readonly directory: string
  readonly error: FlistError
}

/** Puts the program that is on the disk now in the place of a mount's server; nothing is unmounted. Throws what `upgradeAll` collects. */
export async function upgrade(directory: string, signal: AbortSignal): Promise<UpgradeResult[]> {
  const mounts = readMounts()
  const at = (await mountNamed(mounts, directory))?.directory
  const found = standing(mounts).filter((listing) => listing.directory === at)
  if (found.length === 0) {
    throw new FlistError('FLIST_NOT_MOUNTED', `Cannot upgrade "${directory}": no archive is mounted there`, {
      hint: hintInstead(mounts, directory),
    })
  }
  const { results, failures } = await upgradeEach(found, signal)
  for (const { error } of failures) throw error
  return results
}

/**
 * The same for all mounts. Those that share a server get the new one together; one that cannot have it keeps none from it.
 * Failures are FLIST_NOT_PERMITTED where a mount has no supervisor or is another user's, FLIST_TIMEOUT.
 */
export async function upgradeAll(
  signal: AbortSignal,
): Promise<{ readonly results: UpgradeResult[]; readonly failures: UpgradeFailure[] }> {
  return upgradeEach(
    standing(readMounts()).filter(({ driver }) => driver === undefined),
    signal,
  )
}

function standing(mounts: ReturnType<typeof readMounts>): MountListing[] {
  return listMounts(mounts).filter(({ state }) => state !== 'leaving')
}

async function upgradeEach(
  listings: MountListing[],
  signal: AbortSignal,
): Promise<{ results: UpgradeResult[]; failures: UpgradeFailure[] }> {
  const results: UpgradeResult[] = []
  const failures: UpgradeFailure[] = []
  // One server may have several of them, and is replaced once.
  for (let left = listings; left[0] !== undefined;) {
    const [first] = left
    const together = left.filter((one) => one === first || isServedWith(one, first))
    left = left.filter((one) => !together.includes(one))
    try {
      const result = first.state === 'orphaned' ? await adopt(first, signal) : await replaceServer(first, signal)
      results.push(result)
      for (const other of together.slice(1)) {
        const { pid } = await untilServed(other, other.pid, signal)
        results.push({ ...result, directory: other.directory, from: other.pid, to: pid })
      }
    } catch (error) {
      if (!(error instanceof FlistError)) throw error
      const done = new Set(results.map(({ directory }) => directory))
      const others = together.filter(({ directory }) => !done.has(directory))
      failures.push(...others.map(({ directory }) => ({ directory, error })))
    }
  }
  return { results, failures }
}

async function replaceServer(listing: MountListing, signal: AbortSignal): Promise<UpgradeResult> {
  const { supervisor, directory, driver, state } = listing
  if (state === 'dead') {
    throw new FlistError('FLIST_NOT_PERMITTED', `Cannot upgrade "${directory}": its device is gone`, {
      hint: `Unmount it: flistfs umount ${directory}`,
    })
  }
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
  const now = await untilServed(listing, pid, signal).catch((error: unknown) => {
    const old = listMounts().find(({ id }) => id === listing.id)
    if (!(error instanceof FlistError) || old?.pid !== pid || !isAlive(old)) throw error
    throw new FlistError('FLIST_TIMEOUT', `Cannot upgrade "${directory}": no new server was ready in ${SERVE_MS} ms`, {
      hint: `Process ${pid} serves on. See whether the program on the disk starts (flistfs --version), and upgrade again`,
      cause: error,
    })
  })
  return { directory, from: pid, to: now.pid, tookMs: Math.round(performance.now() - began) }
}

/** Whoever replaces the server of one replaces that of the other. */
function isServedWith(one: MountListing, other: MountListing): boolean {
  if (one.state !== other.state) return false
  if (one.state === 'orphaned') return one.key !== undefined && one.key === other.key
  return one.supervisor?.pid === other.supervisor?.pid && one.supervisor?.pidStart === other.supervisor?.pidStart
}

/** Server and supervisor are gone, the device is held: both are started again. Throws FLIST_NOT_PERMITTED, FLIST_TIMEOUT. */
export async function adopt(listing: MountListing, signal: AbortSignal): Promise<UpgradeResult> {
  const { id, directory, key, cacheDir, pid } = listing
  if (key !== undefined && key !== sharedKey(cacheDir)) {
    throw new FlistError(
      'FLIST_NOT_PERMITTED',
      `Cannot go on with "${directory}": it was mounted in other circumstances`,
      {
        hint: 'Say this with the environment, the user and in the namespaces that it was mounted in; or unmount it',
      },
    )
  }
  const main = process.argv[1] ?? ''
  const bin = main.endsWith('.ts') ? dirname(main) : join(dirname(main), '../bin')
  const began = performance.now()
  spawn('sh', [join(bin, 'supervise'), join(bin, 'node'), main, 'resume'], {
    stdio: 'ignore',
    cwd: '/',
    detached: true,
    env: { ...withoutSupervisor(), FLISTFS_ADOPT: id },
  }).unref()
  const now = await untilServed(listing, pid, signal)
  return { directory, from: pid, to: now.pid, tookMs: Math.round(performance.now() - began) }
}

/** Where this process is itself on its way to a mount: nobody is to hear of it that the other serves, nor to take its device. */
function withoutSupervisor(): NodeJS.ProcessEnv {
  const { FLISTFS_LAUNCHER: _launcher, FLISTFS_SUPERVISOR: _own, FLISTFS_HOLDER: _holder, ...others } = process.env
  const { FLISTFS_DEVICE: _device, FLISTFS_KEPT: _kept, FLISTFS_TRIES: _tries, ...env } = others
  return env
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
