import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { FlistError, invariant } from '../../base/index.ts'
import { MNT, POLLERR, PollSet } from '../../system/index.ts'
import { FOREVER_S } from '../../wire/index.ts'
import { refuseForUsers, takeAway } from '../device-user.ts'
import type { MountWords } from '../device.ts'
import type { FetchMount } from '../fetch-client.ts'
import { LateReads } from './late-reads.ts'
import { FuseNativeOperations, type OperationParts } from './operations.ts'

/** Milliseconds until the kernel's first request must have come. */
const MOUNT_MS = 60_000
const LOOK_EVERY_MS = 50
/** fuse-native copies both into 1024 bytes, and says nothing where they do not fit. */
const WORDS_BYTES_MAX = 1023
const SOURCE_CHARS_MAX = 150
/** Reads that wait take a thread of libfuse each. */
const BACKGROUND_MAX = 64

type Package = typeof import('fuse-native').default

export interface FuseNativeParts extends Omit<OperationParts, 'late' | 'misses'> {
  /** Its thread has no device to write to: replies come by message. */
  readonly fetch: FetchMount
  /** Milliseconds until a read ends though the fetch thread says nothing; undefined: none. */
  readonly readDeadlineMs: number | undefined
}

/**
 * A mount that libfuse 2 serves, through the package fuse-native: requests come by path, from libfuse's threads, and are answered on
 * this one. libfuse opens the device and holds it, so the mount ends with this process.
 */
export class FuseNativeMount {
  readonly #words: MountWords
  readonly #late: LateReads
  readonly #fuse: InstanceType<Package>
  #device = -1

  constructor(Fuse: Package, words: MountWords, parts: FuseNativeParts) {
    this.#words = words
    const late = new LateReads(parts.readDeadlineMs)
    parts.fetch.onReply = (reply) => late.reply(reply)
    this.#late = late
    const operations = new FuseNativeOperations({ ...parts, late, misses: parts.fetch })
    this.#fuse = new Fuse(words.directory, operations.operations(), { timeout: false })
    // What its options cannot say, and what it does wrong; the version is pinned.
    Object.assign(this.#fuse, {
      _fuseOptions: () => optionsOf(words),
      _op_getxattr: operations.getxattr.bind(operations),
      _op_listxattr: operations.listxattr.bind(operations),
    })
  }

  /** Resolves when the kernel's first request was answered. Throws FLIST_MOUNT_FAILED, FLIST_NOT_PERMITTED. */
  async mount(signal: AbortSignal): Promise<void> {
    const { directory } = this.#words
    signal.throwIfAborted()
    refuseForUsers(this.#words)
    const tooLong = [directory, optionsOf(this.#words)].some((text) => Buffer.byteLength(text) > WORDS_BYTES_MAX)
    if (tooLong) {
      throw new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${directory}" by fuse-native: the path is too long`)
    }
    const before = new Set(devices())
    await this.#begin(signal)
    const device = devices().find((fd) => !before.has(fd))
    invariant(device !== undefined, 'libfuse holds the device it mounted')
    this.#device = device
  }

  async #begin(signal: AbortSignal): Promise<void> {
    const { directory } = this.#words
    const late = AbortSignal.any([signal, AbortSignal.timeout(MOUNT_MS)])
    let stop = (): void => undefined
    try {
      await new Promise<void>((resolve, reject) => {
        stop = () => reject(signal.aborted ? (signal.reason as Error) : timedOut(directory))
        late.addEventListener('abort', stop)
        this.#fuse.mount((error) => (error === null ? resolve() : reject(failed(directory, error))))
      })
    } catch (error) {
      if (late.aborted) await takeAway(directory, MNT.DETACH)
      throw error
    } finally {
      late.removeEventListener('abort', stop)
    }
  }

  /** Resolves when libfuse has let go of the device, of which it tells nobody: unmounted, its last user gone, or aborted. */
  async ended(): Promise<void> {
    const poll = new PollSet([this.#device])
    while (isDevice(this.#device)) {
      // libfuse waits for its own threads, and those for reads that nobody wants any more.
      if (poll.wait(0) > 0 && (poll.eventsAt(0) & POLLERR) !== 0) this.#late.failAll()
      await sleep(LOOK_EVERY_MS)
    }
  }
}

function optionsOf(words: MountWords): string {
  const source = words.source
    .slice(0, SOURCE_CHARS_MAX)
    .replaceAll('\\', String.raw`\\`)
    .replaceAll(',', String.raw`\,`)
  const options = ['ro', `fsname=${source}`, `subtype=${words.subtype}`, 'use_ino', 'kernel_cache']
  for (const what of ['attr_timeout', 'entry_timeout', 'negative_timeout']) options.push(`${what}=${FOREVER_S}`)
  options.push(`max_background=${BACKGROUND_MAX}`)
  if (words.suid) options.push('suid')
  if (words.dev) options.push('dev')
  if (words.noexec) options.push('noexec')
  if (words.checked) options.push('default_permissions')
  if (words.allowOther) options.push('allow_other')
  return `-o${options.join(',')}`
}

/** Descriptors of this process that are the FUSE device. */
function devices(): number[] {
  return readdirSync('/proc/self/fd').map(Number).filter(isDevice)
}

function isDevice(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === '/dev/fuse'
  } catch {
    return false
  }
}

function timedOut(directory: string): FlistError {
  const message = `Cannot mount on "${directory}" by fuse-native: the kernel asked nothing within ${MOUNT_MS} ms`
  return new FlistError('FLIST_MOUNT_FAILED', message, { hint: 'Leave --driver out' })
}

function failed(directory: string, cause: Error): FlistError {
  const inUse = cause.message === 'Mountpoint in use'
  const why = inUse ? 'another file system is mounted there' : `${cause.message}; libfuse says why above`
  return new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${directory}" by fuse-native: ${why}`, {
    hint: inUse
      ? 'Unmount it first, or leave --driver out: our own driver mounts over it'
      : 'A user needs /dev/fuse open to him (chmod 666 /dev/fuse) and fusermount (package fuse3), and a folder of his own',
    cause,
  })
}
