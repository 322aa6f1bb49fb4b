import { join } from 'node:path'
import { describeError } from '../../lib/base/index.ts'
import type { Bench } from '../row.ts'
import { readEverything } from '../reading.ts'
import type { Mounted } from '../systems.ts'

export interface Wanted {
  readonly archive: string
  /** Of the native trees. */
  readonly folder: 'small' | 'big'
  readonly words?: readonly string[]
  /** Read once before anything is measured: all blocks are in the cache then. */
  readonly filled?: 'small' | 'big'
  /** Programs of others too, where they are installed. */
  readonly peers?: boolean
}

/** Root folders by the name of the system. */
export type Roots = Readonly<Record<string, string>>
/** Peers that are installed but failed, and why. */
export type Failures = Record<string, string>

/** The same tree on every system that is here: name of the system to root folder. All of it is unmounted afterwards. */
export async function withMounts<T>(
  bench: Bench,
  wanted: Wanted,
  use: (roots: Roots, ours: Mounted, failed: Failures) => T,
): Promise<T> {
  const { systems, fixtures } = bench
  const cache = join(fixtures.work, 'cache')
  const store = `dir://${fixtures.store}`
  if (wanted.filled !== undefined) {
    // Mounted again afterwards: what passes through the kernel must be whole when its file is first opened.
    const filling = systems.mountFlistfs({ archive: wanted.archive, store, cache })
    readEverything(filling.directory, wanted.filled)
    filling.close()
  }
  const ours = systems.mountFlistfs({ archive: wanted.archive, store, cache, words: wanted.words ?? [] })
  const erofs = systems.mountErofs()
  const failed: Failures = {}
  const peers = wanted.peers === true ? mountPeers(bench, wanted, failed) : new Map<string, Mounted>()
  try {
    if (wanted.filled !== undefined) await allCached(bench, ours)
    const roots: Record<string, string> = { ext4: join(fixtures.native, wanted.folder), flistfs: ours.directory }
    if (erofs !== undefined) roots['EROFS'] = join(erofs.directory, wanted.folder)
    for (const [name, { directory }] of peers) roots[name] = directory
    return use(roots, ours, failed)
  } finally {
    for (const peer of peers.values()) peer.close()
    ours.close()
    erofs?.close()
  }
}

function mountPeers(bench: Bench, { folder, filled }: Wanted, failed: Failures): Map<string, Mounted> {
  const { systems, fixtures } = bench
  const mounted = new Map<string, Mounted>()
  for (const peer of systems.peers) {
    try {
      const one = systems.mountPeer(peer, folder, join(fixtures.work, `cache-${peer.name}`))
      mounted.set(peer.name, one)
      if (filled !== undefined) readEverything(one.directory, filled)
    } catch (error) {
      failed[peer.name] = describeError(error)
      bench.say(`${peer.name} failed: ${failed[peer.name]}`)
      mounted.get(peer.name)?.close()
      mounted.delete(peer.name)
    }
  }
  return mounted
}

/** The table of cached blocks is filled in the background: a first read should not be before that. */
async function allCached(bench: Bench, mounted: Mounted): Promise<void> {
  let last = -1
  for (let tries = 0; tries < 200; tries += 1) {
    const { cached } = bench.systems.stats(mounted).blocks
    if (cached === last && cached > 0) return
    last = cached
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
