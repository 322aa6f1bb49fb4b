import { randomBytes } from 'node:crypto'
import { constants, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { codeReason, errnoName, FlistError, makeFolder, systemCode } from '../base/index.ts'
import {
  closeFd,
  errno,
  FileStat,
  mkdirAt,
  openAt,
  openPath,
  renameAt,
  syncFs,
  unlinkAt,
  write,
} from '../system/index.ts'

/** Folder of what is not whole yet. */
const TEMPORARY = '.tmp'
/** Milliseconds after which what a writer left half written is nobody's any more. */
const STALE_MS = 24 * 3600 * 1000
const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW

/**
 * Blocks into a folder, `<id[0:2]>/<id>` as rfs has them, each complete the moment it has its name. Only the disk is waited
 * for, so it runs in the threads that make the blocks. Throws FLIST_STORE_DENIED, FLIST_STORE_UNREACHABLE.
 */
export class DirSink {
  readonly name: string
  readonly #root: number
  readonly #stat = new FileStat()
  readonly #folders = new Set<string>()
  readonly #temporary: string
  #count = 0
  #open = true

  /** Makes the folder where it is not there. */
  constructor(name: string, root: string) {
    this.name = name
    try {
      makeFolder(join(root, TEMPORARY))
      removeStale(join(root, TEMPORARY))
    } catch (error) {
      throw this.#failed(systemCode(error), 'making its folder', error)
    }
    this.#root = this.#done(
      openPath(Buffer.from(root), constants.O_RDONLY | constants.O_DIRECTORY),
      'opening its folder',
    )
    this.#temporary = `${TEMPORARY}/${process.pid}-${randomBytes(6).toString('hex')}`
    this.#makeTemporary()
  }

  /**
   * Stores a block. False where it was there, with as many bytes: what others left half written does not count. `anew`: what is
   * there is damaged.
   */
  store(id: Buffer, stored: Uint8Array, anew = false): boolean {
    const hex = id.toString('hex')
    const folder = hex.slice(0, 2)
    const path = ended(`${folder}/${hex}`)
    if (!anew && this.#stat.at(this.#root, path) === 0 && this.#stat.size === stored.length) return false
    if (!this.#folders.has(folder)) this.#makeFolder(folder)
    this.#count += 1
    const temporary = ended(`${this.#temporary}/${this.#count}`)
    const fd = this.#create(temporary, hex)
    try {
      this.#writeAll(fd, stored, hex)
      this.#done(renameAt(this.#root, temporary, path), `naming block ${hex}`)
    } catch (error) {
      unlinkAt(this.#root, temporary)
      throw error
    } finally {
      closeFd(fd)
    }
    return true
  }

  /** All that was stored is on the disk. */
  sync(): void {
    this.#done(syncFs(this.#root), 'syncing')
  }

  /** Idempotent. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    unlinkAt(this.#root, ended(this.#temporary), true)
    // The last writer takes the folder away; what others have in it keeps it.
    unlinkAt(this.#root, ended(TEMPORARY), true)
    closeFd(this.#root)
  }

  #create(temporary: Buffer, hex: string): number {
    const fd = openAt(this.#root, temporary, CREATE, 0o644)
    if (fd >= 0 || errnoName(-fd) !== 'ENOENT') return this.#done(fd, `making block ${hex}`)
    // Another writer has just ended and taken the folder away.
    this.#makeTemporary()
    return this.#done(openAt(this.#root, temporary, CREATE, 0o644), `making block ${hex}`)
  }

  /** A folder of one writer: in one that they share they would wait for each other. In that of the block making it is dear. */
  #makeTemporary(): void {
    mkdirAt(this.#root, ended(TEMPORARY), 0o755)
    const made = mkdirAt(this.#root, ended(this.#temporary), 0o755)
    if (made !== 0 && errnoName(-made) !== 'EEXIST') throw this.#failed(errnoName(-made), 'making its folder')
  }

  #makeFolder(folder: string): void {
    const made = mkdirAt(this.#root, ended(folder), 0o755)
    if (made !== 0 && errnoName(-made) !== 'EEXIST') throw this.#failed(errnoName(-made), `making folder ${folder}`)
    this.#folders.add(folder)
  }

  #writeAll(fd: number, stored: Uint8Array, hex: string): void {
    let rest = Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength)
    while (rest.length > 0) {
      const bytes = write(fd, rest, rest.length)
      if (bytes < 0) throw this.#failed(errnoName(errno()), `writing block ${hex}`)
      rest = rest.subarray(bytes)
    }
  }

  #done(result: number, what: string): number {
    if (result < 0) throw this.#failed(errnoName(-result), what)
    return result
  }

  #failed(code: string, what: string, cause?: unknown): FlistError {
    const isDenied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
    const isFull = code === 'ENOSPC' || code === 'EDQUOT'
    const hint = isDenied ? 'Make the folder writable' : isFull ? 'Make room' : 'Look at the folder and its disk'
    return new FlistError(
      isDenied ? 'FLIST_STORE_DENIED' : 'FLIST_STORE_UNREACHABLE',
      `Cannot write to store "${this.name}": ${codeReason(code)} when ${what}`,
      {
        hint: `${hint}, then run again: only what is missing is written`,
        ...(cause === undefined ? {} : { cause }),
      },
    )
  }
}

/** A path of plain letters as the foreign calls take it. */
function ended(path: string): Buffer {
  return Buffer.from(`${path}\0`, 'latin1')
}

/** What a writer that was killed left behind. */
function removeStale(folder: string): void {
  const before = Date.now() - STALE_MS
  for (const name of readdirSync(folder)) {
    const path = join(folder, name)
    const about = statSync(path, { throwIfNoEntry: false })
    if (about !== undefined && about.mtimeMs < before) rmSync(path, { recursive: true, force: true })
  }
}
