import { mkdir, open, readdir, rename, rm, stat, statfs, type FileHandle } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { displaySize, FlistError, LIMITS, systemReason } from '../../base/index.ts'
import { type Digest, hasherOf } from '../digest.ts'

const SUFFIX = '.layer'
/** Of this process. */
const IN_USE = new Set<string>()

/**
 * Layers on their way from a registry, a file each in one folder: `sha256-HEX.PID.START.layer`. A file belongs to the process that it
 * names; one whose process is gone is taken over by a rename, so what a broken conversion has fetched is not fetched again.
 */
export class Spool {
  readonly #folder: string
  readonly #owner: string
  readonly #own = new Set<string>()

  private constructor(folder: string) {
    this.#folder = folder
    this.#owner = `${process.pid}.${startOf(process.pid) ?? '0'}`
  }

  /** Removes what is older than a week. Throws FLIST_CACHE_UNUSABLE. */
  static async open(folder: string): Promise<Spool> {
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      for (const name of await readdir(folder)) {
        const path = join(folder, name)
        const found = await stat(path).catch(() => undefined)
        if (found === undefined || Date.now() - found.mtimeMs < LIMITS.layersKeptMs || lives(name)) continue
        await rm(path, { force: true })
      }
    } catch (error) {
      throw new FlistError('FLIST_CACHE_UNUSABLE', `Cannot use "${folder}" for layers: ${systemReason(error)}`, {
        hint: 'Name another cache folder: --cache DIR',
        cause: error,
      })
    }
    return new Spool(folder)
  }

  /** Said before a layer is fetched. Throws FLIST_CACHE_UNUSABLE where so many bytes have no room. */
  async expect(bytes: number): Promise<void> {
    const { bavail, bsize } = await statfs(this.#folder)
    const free = bavail * bsize
    if (bytes <= free) return
    const why = `the layers have ${displaySize(bytes)}, and ${displaySize(free)} are free`
    throw new FlistError('FLIST_CACHE_UNUSABLE', `Cannot use "${this.#folder}" for layers: ${why}`, {
      hint: 'Make room, or name a cache folder on another disk: --cache DIR',
    })
  }

  /** The file of a layer, this process's own; what a process before has left of it is in it. */
  async file(digest: Digest): Promise<SpoolFile> {
    const stem = digest.replace(':', '-')
    const path = this.#free(stem)
    for (const name of await readdir(this.#folder)) {
      if (!name.startsWith(`${stem}.`) || lives(name)) continue
      const taken = await rename(join(this.#folder, name), path).then(
        () => true,
        () => false,
      )
      if (taken) break
    }
    const handle = await open(path, 'a+', 0o600)
    return new SpoolFile(path, handle, digest)
  }

  /** A name that no other conversion of this process uses now. */
  #free(stem: string): string {
    for (let number = 0; ; number += 1) {
      const path = join(this.#folder, `${stem}.${number === 0 ? '' : `${number}.`}${this.#owner}${SUFFIX}`)
      if (IN_USE.has(path)) continue
      IN_USE.add(path)
      this.#own.add(path)
      return path
    }
  }

  /** A file of another kind, which nobody takes over. */
  async scratch(): Promise<string> {
    const path = join(this.#folder, `scratch-${crypto.randomUUID()}.${this.#owner}${SUFFIX}`)
    await (await open(path, 'wx', 0o600)).close()
    this.#own.add(path)
    return path
  }

  /** Removes what this has put here. Idempotent. */
  async clear(): Promise<void> {
    for (const path of this.#own) await rm(path, { force: true })
    this.leave()
  }

  /** Leaves what is here to who comes next. Idempotent. */
  leave(): void {
    for (const path of this.#own) IN_USE.delete(path)
    this.#own.clear()
  }
}

/** A layer's bytes as far as they are here. */
export class SpoolFile {
  readonly path: string
  readonly #handle: FileHandle
  readonly #digest: Digest
  #hash
  size = 0

  constructor(path: string, handle: FileHandle, digest: Digest) {
    this.path = path
    this.#handle = handle
    this.#digest = digest
    this.#hash = hasherOf(digest)
  }

  /** Takes in what is there; more than `size` is none of it. */
  async begin(size: number, signal: AbortSignal): Promise<void> {
    const there = (await this.#handle.stat()).size
    if (there > size) return await this.restart()
    const stream = this.#handle.createReadStream({ start: 0, autoClose: false, signal })
    for await (const piece of stream as AsyncIterable<Buffer>) {
      this.#hash.update(piece)
      this.size += piece.length
    }
  }

  async append(piece: Buffer): Promise<void> {
    this.#hash.update(piece)
    this.size += piece.length
    let at = 0
    try {
      while (at < piece.length) at += (await this.#handle.write(piece, at)).bytesWritten
    } catch (error) {
      throw cannotSpool(this.path, error)
    }
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0)
    this.#hash = hasherOf(this.#digest)
    this.size = 0
  }

  /** To be asked once, when all is here. */
  isRight(): boolean {
    return this.#digest.endsWith(`:${this.#hash.digest('hex')}`)
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

/** The disk is full, most often. */
export function cannotSpool(path: string, error: unknown): FlistError {
  return new FlistError('FLIST_CACHE_UNUSABLE', `Cannot write "${path}": ${systemReason(error)}`, {
    hint: 'Make room, or name a cache folder on another disk: --cache DIR',
    cause: error,
  })
}

/** True while the process a file names lives: same number, same start. */
function lives(name: string): boolean {
  const [, pid = '', start = ''] = /\.(\d+)\.(\d+)\.layer$/.exec(name) ?? []
  return pid !== '' && startOf(Number(pid)) === start
}

/** In ticks since boot, `/proc/PID/stat` field 22 (proc(5)); the name in field 2 may hold blanks. */
function startOf(pid: number): string | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
