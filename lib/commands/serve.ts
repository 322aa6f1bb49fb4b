import { closeSync } from 'node:fs'
import type { FlistIndex } from '../flist/index.ts'
import { openIndex } from '../flist/index.ts'
import {
  heldBy,
  keepDevice,
  mayShare,
  openDevice,
  releaseServer,
  type ServeOptions,
  sharedKey,
  unregisterMount,
} from '../kernel/index.ts'
import { findHost, HostDied, NotTaken } from './join.ts'

import { shareServer } from './inherit.ts'
import { type Host, mountThrough } from './mounting.ts'
import { type MountPlace, type MountPlan, planMount } from './mount-plan.ts'
import type { ServedMount } from './served-mount.ts'
import { Server } from './server.ts'

/** For bin/supervise: another server has the mount, and its holder. */
const TAKEN = 253
/** For bin/supervise: the device is spent, and all begins again with a fresh one. */
export const BEGIN_AGAIN = 254

/**
 * Mounts an archive. Where a server of the same circumstances runs it takes the mount, and this returns at once; else this process
 * serves it until it is unmounted, and others that come. Resolves with the exit code. Until the first request is answered only
 * what stands above is loaded: the fetch thread brings stores and cache.
 * Throws FLIST_MOUNT_FAILED, FLIST_NOT_PERMITTED, FLIST_INDEX_DAMAGED.
 */
export async function serveMount(options: ServeOptions): Promise<number> {
  const { indexPath, digest, signal, onReady } = options
  const index = openIndex(indexPath, digest)
  const fd = openDevice()
  const plan = planMount(options, index)
  const key = isShared(options, plan) ? sharedKey(options.cacheDir) : undefined
  for (let asking = key !== undefined; asking && key !== undefined;) {
    const host = await findHost(key, signal)
    if (host === 'ours') return serveHere(options, plan, index, fd, key)
    if (host === undefined) break
    try {
      await mountThrough(host, plan, index, fd, signal)
      index.close()
      closeSync(fd)
      onReady(host.pid)
      return TAKEN
    } catch (error) {
      if (error instanceof HostDied) return BEGIN_AGAIN
      if (!(error instanceof NotTaken)) throw error
      asking = error.mayAskAgain
    }
  }
  return serveHere(options, plan, index, fd, undefined)
}

/** Whether a mount may share a server: its device can be taken from its holder, and nothing of it is this process's alone. */
function isShared({ ownProcess, foreground, stores }: ServeOptions, { holder }: MountPlan): boolean {
  if (ownProcess || foreground || holder === undefined) return false
  // Secrets that lie in variables with any name.
  if (stores.some((store) => /[?&](?:password|token)-env=/.test(store))) return false
  return mayShare(holder)
}

async function serveHere(
  options: ServeOptions,
  plan: MountPlan,
  index: FlistIndex,
  fd: number,
  key: string | undefined,
): Promise<number> {
  const { signal, onReady } = options
  const server = new Server(key, options.cacheDir)
  server.await()
  const running = server.run(signal)
  const host = new LocalHost(server, index, fd)
  try {
    await mountThrough(host, plan, index, fd, signal)
    // A shared server has the holders of its mounts, and no service manager that is meant.
    const deaf = key === undefined ? keepDevice(plan.id, fd) : undefined
    if (deaf !== undefined) host.warn('the service manager cannot keep the device', deaf)
    onReady(process.pid)
  } catch (error) {
    if (key !== undefined) releaseServer(key)
    await host.undo()
    server.arrived()
    await running
    throw error
  }
  if (key !== undefined) await shareServer(server, key, signal)
  server.arrived()
  return running
}

/** This very process. */
class LocalHost implements Host {
  readonly pid = process.pid
  readonly #server: Server
  readonly #index: FlistIndex
  readonly #fd: number
  #mount: ServedMount | undefined

  constructor(server: Server, index: FlistIndex, fd: number) {
    this.#server = server
    this.#index = index
    this.#fd = fd
  }

  take(plan: MountPlan): Promise<void> {
    this.#mount = this.#server.prepare(plan, heldBy(plan.holder, this.#fd), this.#index)
    return Promise.resolve()
  }

  async begin(signal: AbortSignal): Promise<void> {
    if (this.#mount !== undefined) await this.#server.begin(this.#mount, signal)
  }

  settle(place: MountPlace): Promise<void> {
    if (this.#mount !== undefined) this.#server.settle(this.#mount, place)
    return Promise.resolve()
  }

  async drop(): Promise<void> {
    if (this.#mount === undefined) return
    await this.#server.end(this.#mount)
    unregisterMount(this.#mount.plan.id)
  }

  warn(message: string, error: string): void {
    this.#mount?.log.warn(message, { error })
  }

  /** Nobody could be told of it. */
  async undo(): Promise<void> {
    await this.#mount?.leave()
  }
}
