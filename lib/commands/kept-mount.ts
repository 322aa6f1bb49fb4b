import { describeError } from '../base/index.ts'
import { openIndex } from '../flist/index.ts'
import {
  endKept,
  heldBy,
  type KeptDevice,
  listMounts,
  loadState,
  type MountListing,
  ownHolder,
  saveState,
  type ServeOptions,
  type ServeWords,
  signalProcess,
  supervisor,
  takeKept,
} from '../kernel/index.ts'
import { inheritChanges } from '../runtime/index.ts'
import { type MountReport, type MountRequest, readiness, type Serve } from './mount.ts'
import { changesOf, type MountPlan, ownerOf, wordsOf } from './mount-plan.ts'
import { openAgain } from './open-index.ts'
import { BEGIN_AGAIN } from './serve.ts'
import type { Legacy } from './served-mount.ts'
import { Server } from './server.ts'

/**
 * Goes on with the mount whose device a service manager kept, under the words of now; as it was, where those cannot be fulfilled: a
 * mount that has users is not lost because its hub is away. What can be changed on no mount that stands, and what was kept of
 * another, is taken away, and bin/supervise begins again. Throws FLIST_TIMEOUT.
 */
export async function goOn(
  { directory, driver }: MountRequest,
  mountBy: (serve: Serve, directory: string) => Promise<number>,
  report: MountReport,
  signal: AbortSignal,
): Promise<number> {
  const kept = await takeKept(directory, signal)
  if (kept === undefined) return BEGIN_AGAIN
  const { record } = kept
  const legacy = loadState(record.id, 'state') as Legacy | undefined
  if (driver !== 'native' || legacy === undefined) {
    await endKept(kept)
    return BEGIN_AGAIN
  }
  let begun = false
  const serve = async (options: ServeOptions): Promise<number> => {
    begun = true
    if (mountedAs(options) === mountedAs(legacy.options)) return serveKept(kept, legacy, options)
    await endKept(kept)
    return BEGIN_AGAIN
  }
  try {
    return await mountBy(serve, record.directory)
  } catch (error) {
    if (begun || signal.aborted) throw error
    report.warn(`The mount on "${record.directory}" goes on as it was. ${describeError(error)}`)
    const result = { ...record, rw: record.rw !== undefined, foreground: true }
    const own = { onReady: readiness(result, report), signal, foreground: true, ownProcess: true }
    return serveKept(kept, legacy, { ...legacy.options, ...own })
  }
}

/**
 * True where what is to be mounted is what stands there already, and was just given a server again: whoever says the same words
 * after a crash wants that, and not another mount over it.
 */
export function goOnAs({ id }: MountListing, options: ServeOptions): boolean {
  const listing = listMounts().find((now) => now.id === id)
  const legacy = loadState(id, 'state') as Legacy | undefined
  if (listing === undefined || legacy === undefined || mountedAs(options) !== mountedAs(legacy.options)) return false
  const holder = ownHolder()
  // The device that was opened for this mount is not needed.
  if (holder !== undefined && holder.pid !== supervisor()) signalProcess(holder, 'SIGKILL')
  options.onReady(listing.pid)
  return true
}

/** What a mount keeps from its beginning to its end. */
function mountedAs(words: ServeWords): string {
  const { digest, source, subtype, passthrough, suid, dev, allowOther, noexec, rw } = words
  // A record of an older version does not speak of links.
  const links = words.nosymfollow ?? false
  return JSON.stringify([digest, source, subtype, passthrough, suid, dev, allowOther, noexec, links, rw ?? null])
}

async function serveKept({ fd, record }: KeptDevice, legacy: Legacy, options: ServeOptions): Promise<number> {
  const { served, checked } = legacy
  const { id, startedAt, connection } = record
  const plan: MountPlan = { id, startedAt, words: wordsOf(options), served, checked, holder: ownHolder() }
  const index = await openAgain(plan.words).catch(() => openIndex(legacy.options.indexPath, options.digest))
  if (options.rw !== undefined) inheritChanges(changesOf(plan), ownerOf(plan))
  const server = new Server(undefined, options.cacheDir)
  server.await()
  const mount = server.prepare(plan, heldBy(plan.holder, fd), index)
  saveState(id, 'state', { options: plan.words, served, checked } satisfies Legacy)
  const place = { connection, overlay: record.rw?.overlay ?? -1 }
  mount.stands(place)
  server.inherit(mount)
  const running = server.run(options.signal)
  mount.register(place)
  mount.log.warn('another server goes on', { directory: record.directory, why: 'it was kept' })
  options.onReady(process.pid)
  mount.fetch.start()
  server.arrived()
  return running
}
