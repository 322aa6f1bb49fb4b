import { constants } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { LIMITS } from '../base/index.ts'
import { closeFd, openHere, openPath, pread, readSoon } from '../system/index.ts'
import { decodeBlock } from './codec.ts'
import { LOCAL_TYPES } from './local-folder.ts'
import type { BlockRef } from './port.ts'
import { parseStoreUrl, type StoreRoute } from './store-url.ts'

/** A route as a thread may be told it. */
export interface LocalRoute {
  /** First bytes of ids, inclusive. */
  readonly start: number
  readonly end: number
  /** A folder on a disk of this machine; undefined: a store that must be waited for. */
  readonly folder: string | undefined
}

/** Milliseconds until a folder whose file system is not known counts as one that must be waited for. */
const ASK_MS = 1_000

/**
 * Which routes lead to folders on a disk or in the memory of this machine (docs/decisions/091). Undefined where none does. What
 * is wrong with a route a read will say.
 */
export async function localRoutes(
  routes: readonly StoreRoute[],
  baseDir: string,
): Promise<readonly LocalRoute[] | undefined> {
  const asked = routes.map(async ({ start, end, url }) => {
    const path = folderOf(url, baseDir)
    return { start, end, folder: path !== undefined && (await isLocal(path)) ? path : undefined }
  })
  const known = await Promise.all(asked)
  return known.some(({ folder }) => folder !== undefined) ? known : undefined
}

function folderOf(url: string, baseDir: string): string | undefined {
  try {
    const { scheme, path } = parseStoreUrl(url, baseDir)
    return scheme === 'dir' ? path : undefined
  } catch {
    return undefined
  }
}

async function isLocal(path: string): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>()
  const timer = setTimeout(() => resolve(false), ASK_MS)
  const asked = statfs(path).then(
    ({ type }) => LOCAL_TYPES.has(type),
    () => false,
  )
  return Promise.race([asked, late]).finally(() => clearTimeout(timer))
}

const HEX_BYTES_MAX = 64

interface OpenRoute {
  readonly start: number
  readonly end: number
  /** Below 0: ask no further. */
  readonly fd: number
}

/**
 * Blocks of folders of this machine, read and decoded in the thread that calls: a third of what the way costs that can wait for
 * others (docs/decisions/240). It has no words for what is wrong: whatever it does not give is asked for by that way.
 */
export class LocalBlocks implements Disposable {
  readonly #routes: readonly OpenRoute[]
  readonly #folders = new Map<string, number>()
  readonly #stored = Buffer.allocUnsafeSlow(LIMITS.storedBlockBytesMax + 1)
  /** `xx/<hex>` with a NUL; the flat name begins after the slash. */
  readonly #path = Buffer.alloc(3 + HEX_BYTES_MAX + 1)
  /** Which layout had the last block. */
  #flat = false

  /** `prepareCodec()` comes before the first block. */
  constructor(routes: readonly LocalRoute[]) {
    this.#path[2] = 0x2f
    this.#routes = routes.map(({ start, end, folder }) => ({
      start,
      end,
      fd: folder === undefined ? -1 : this.#openFolder(folder),
    }))
  }

  /** A descriptor of the stored block, which the disk begins to read; below 0 where it is to be had by another way. For `take`. */
  open(id: Buffer): number {
    const hex = id.toString('hex')
    const first = id[0] ?? 0
    this.#path.write(hex.slice(0, 2), 0, 'latin1')
    this.#path.write(hex, 3, 'latin1')
    this.#path[3 + hex.length] = 0
    for (const { start, end, fd: folder } of this.#routes) {
      if (first < start || first > end) continue
      if (folder < 0) return -1
      let fd = openHere(folder, this.#flat ? this.#path.subarray(3) : this.#path)
      if (fd < 0) {
        fd = openHere(folder, this.#flat ? this.#path : this.#path.subarray(3))
        if (fd >= 0) this.#flat = !this.#flat
      }
      if (fd < 0) continue
      readSoon(fd)
      return fd
    }
    return -1
  }

  /** Closes what `open` gave. The block's plain bytes, checked; undefined where they are not what `ref` names. */
  take(fd: number, ref: BlockRef): Buffer | undefined {
    try {
      const bytes = this.#read(fd)
      return bytes <= 0 ? undefined : decodeBlock(ref, this.#stored.subarray(0, bytes))
    } catch {
      return undefined
    } finally {
      closeFd(fd)
    }
  }

  [Symbol.dispose](): void {
    for (const fd of this.#folders.values()) if (fd >= 0) closeFd(fd)
    this.#folders.clear()
  }

  #openFolder(path: string): number {
    const known = this.#folders.get(path)
    if (known !== undefined) return known
    const fd = openPath(Buffer.from(path), constants.O_RDONLY | constants.O_DIRECTORY)
    this.#folders.set(path, fd)
    return fd
  }

  /** Bytes that are in `#stored` now; what is too large for a block is cut, and refused as such. */
  #read(fd: number): number {
    let done = 0
    while (done < this.#stored.length) {
      const room = this.#stored.length - done
      const got = pread(fd, done === 0 ? this.#stored : this.#stored.subarray(done), room, done)
      if (got < 0) return -1
      if (got === 0) break
      done += got
    }
    return done
  }
}
