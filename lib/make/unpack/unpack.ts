import { constants, fchmodSync, mkdirSync } from 'node:fs'
import { describeError, errnoName, FlistError, invariant, LIMITS, systemCode } from '../../base/index.ts'
import { FILE_TYPE, type FlistIndex, rowStat, type RowStat } from '../../flist/index.ts'
import {
  closeFd,
  FileStat,
  linkAt,
  mkdirAt,
  mknodAt,
  OPEN_FOLDER,
  openAt,
  openPath,
  setTime,
  symlinkAt,
  unlinkAt,
  zeroEnded,
} from '../../system/index.ts'
import { OpenFolder } from '../open-folder.ts'
import { Attributes } from './attributes.ts'
import { type BlockSupply, closeQuietly, writeContent } from './file-content.ts'
import { type LeftOut, type LeftOutKind, LeftOuts } from './left-out.ts'
import { Slots } from './slots.ts'

export interface UnpackRequest {
  readonly index: FlistIndex
  /** Made where it is not there; its parent must be. */
  readonly directory: string
  readonly supply: BlockSupply
  /** Plain bytes that are there, of how many, and names. */
  readonly onProgress?: ((bytes: number, total: number, entries: number) => void) | undefined
}

export interface UnpackResult {
  /** Names that are in the folder now. */
  entries: number
  /** Plain bytes that were written; holes count. */
  bytes: number
  /** Files that were there with their size and time, and were not read again. */
  kept: number
  /** What is not as in the archive, by kind. */
  readonly counts: Partial<Record<LeftOutKind, number>>
  readonly leftOut: readonly LeftOut[]
}

const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
const EXISTING = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/**
 * Restores the tree of an archive in a folder. Nothing outside of it is touched: every name is made in a folder that is held open, and no
 * link is followed. What is there under a name of the archive is replaced, but for a folder that is in the way of something else; other names
 * stay. Called again after an interruption it reads only files that are not whole. Throws FLIST_SYSTEM for the folder itself and for a full
 * disk, FLIST_INTERRUPTED; what else cannot be restored is in the result.
 */
export async function unpackTree(request: UnpackRequest, signal: AbortSignal): Promise<UnpackResult> {
  return new Unpacking(request, signal).run()
}

interface Level {
  readonly folder: OpenFolder
  readonly row: number
  next: number
  readonly end: number
  readonly path: Buffer
}

const SLASH = Buffer.from('/')

class Unpacking {
  readonly #request: UnpackRequest
  readonly #index: FlistIndex
  readonly #signal: AbortSignal
  readonly #left = new LeftOuts()
  readonly #attributes: Attributes
  readonly #stat = new FileStat()
  readonly #blocks = new Slots(LIMITS.unpackBlocksAtOnce)
  readonly #files = new Slots(LIMITS.unpackFilesAtOnce)
  readonly #running = new Set<Promise<void>>()
  /** Of a hard link's leader: the path of its first name here. */
  readonly #linked = new Map<number, Buffer>()
  readonly #result: UnpackResult
  #failure: unknown
  /** Of content that could not be restored. */
  #firstContent: unknown

  constructor(request: UnpackRequest, signal: AbortSignal) {
    this.#request = request
    this.#index = request.index
    this.#signal = signal
    this.#attributes = new Attributes(request.index, this.#left)
    this.#result = { entries: 0, bytes: 0, kept: 0, counts: this.#left.counts, leftOut: this.#left.list }
  }

  async run(): Promise<UnpackResult> {
    const root = this.#openRoot()
    const umask = process.umask(0)
    const levels = [this.#level(root, 0, Buffer.alloc(0))]
    try {
      for (let top = levels.at(-1); top !== undefined; top = levels.at(-1)) {
        if (this.#signal.aborted || this.#failure !== undefined) break
        if (top.next >= top.end) {
          levels.pop()
          this.#leave(top)
          continue
        }
        const row = top.next
        top.next += 1
        const child = await this.#make(top, row)
        if (child !== undefined) levels.push(child)
      }
    } finally {
      await Promise.all(this.#running)
      for (const { folder } of levels) folder.release()
      process.umask(umask)
    }
    if (this.#failure !== undefined) throw this.#failure
    // Not one block came: that is no restoring in part.
    if (this.#firstContent !== undefined && this.#result.bytes === 0) throw this.#firstContent
    this.#signal.throwIfAborted()
    return this.#result
  }

  #openRoot(): OpenFolder {
    const { directory } = this.#request
    try {
      mkdirSync(directory)
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw this.#refused(systemCode(error), error)
    }
    const fd = openPath(Buffer.from(directory), constants.O_RDONLY | constants.O_DIRECTORY)
    if (fd < 0) throw this.#refused(errnoName(-fd))
    return new OpenFolder(fd)
  }

  #refused(why: string, cause?: unknown): FlistError {
    return new FlistError('FLIST_SYSTEM', `Cannot unpack into "${this.#request.directory}": ${why}`, {
      hint: 'Name a folder that you may write; the folder it lies in must be there',
      cause,
    })
  }

  #level(folder: OpenFolder, row: number, path: Buffer): Level {
    const first = this.#index.first[row] ?? 0
    this.#result.entries += 1
    return { folder, row, next: first, end: first + (this.#index.count[row] ?? 0), path }
  }

  /** All that is in it is there: what came before would have changed its time, or been refused by its mode. */
  #leave({ folder, row, path }: Level): void {
    this.#attributes.ofOpen(folder.fd, rowStat(this.#index, row), path)
    folder.release()
  }

  /** Makes one entry; a folder's level is entered next. */
  async #make(level: Level, row: number): Promise<Level | undefined> {
    const bare = this.#index.nameOf(row)
    const path = level.path.length === 0 ? Buffer.from(bare) : Buffer.concat([level.path, SLASH, bare])
    const stat = rowStat(this.#index, row)
    const name = zeroEnded(bare)
    const type = stat.mode & FILE_TYPE.mask
    if (type === FILE_TYPE.directory) return this.#makeFolder(level, row, name, path)
    if (this.#linkExisting(level, row, name, path)) return undefined
    if (type === FILE_TYPE.file) await this.#makeFile(level, stat, name, path)
    else this.#makeSpecial(level, stat, name, path)
    return undefined
  }

  #makeFolder(level: Level, row: number, name: Buffer, path: Buffer): Level | undefined {
    const { fd: dir } = level.folder
    let made = mkdirAt(dir, name, 0o700)
    if (made < 0 && errnoName(-made) === 'EEXIST') {
      this.#stat.at(dir, name)
      if ((this.#stat.mode & FILE_TYPE.mask) === FILE_TYPE.directory) made = 0
      else made = this.#clear(dir, name) ? mkdirAt(dir, name, 0o700) : made
    }
    const fd = made < 0 ? made : openAt(dir, name, OPEN_FOLDER)
    // One of an earlier run may have its last mode already.
    if (fd >= 0) fchmodSync(fd, 0o700)
    if (fd >= 0) return this.#level(new OpenFolder(fd), row, path)
    this.#fail(path, 'name', -fd)
    return undefined
  }

  /** A further name of an inode that is here already. */
  #linkExisting(level: Level, row: number, name: Buffer, path: Buffer): boolean {
    const leader = this.#index.leader[row] ?? row
    if ((this.#index.nlink[leader] ?? 1) === 1) return false
    const first = this.#linked.get(leader)
    if (first === undefined) {
      this.#linked.set(leader, path)
      return false
    }
    const dir = this.#openBeneath(first.subarray(0, Math.max(0, first.lastIndexOf(0x2f))))
    const base = zeroEnded(first.subarray(first.lastIndexOf(0x2f) + 1))
    const { fd } = level.folder
    let result = dir < 0 ? dir : linkAt(dir, base, fd, name)
    if (result < 0 && errnoName(-result) === 'EEXIST') {
      result = this.#isSame(dir, base, fd, name) ? 0 : this.#clear(fd, name) ? linkAt(dir, base, fd, name) : result
    }
    if (dir >= 0) closeFd(dir)
    if (result < 0) this.#fail(path, 'link', -result)
    else this.#result.entries += 1
    return true
  }

  /** A folder of the tree, from its root down, no link followed. */
  #openBeneath(path: Buffer): number {
    let fd = openPath(Buffer.from(this.#request.directory), constants.O_RDONLY | constants.O_DIRECTORY)
    for (const part of path.length === 0 ? [] : path.toString('latin1').split('/')) {
      if (fd < 0) return fd
      const next = openAt(fd, zeroEnded(Buffer.from(part, 'latin1')), OPEN_FOLDER)
      closeFd(fd)
      fd = next
    }
    return fd
  }

  #isSame(dirA: number, a: Buffer, dirB: number, b: Buffer): boolean {
    if (this.#stat.at(dirA, a) < 0) return false
    const { ino, system } = this.#stat
    return this.#stat.at(dirB, b) === 0 && this.#stat.ino === ino && this.#stat.system === system
  }

  async #makeFile(level: Level, stat: RowStat, name: Buffer, path: Buffer): Promise<void> {
    const { fd: dir } = level.folder
    if (this.#isWhole(dir, name, stat)) {
      const there = openAt(dir, name, EXISTING)
      if (there >= 0) {
        this.#attributes.ofOpen(there, stat, path)
        closeFd(there)
        this.#result.entries += 1
        this.#result.kept += 1
        return
      }
    }
    let fd = openAt(dir, name, CREATE, 0o600)
    if (fd < 0 && errnoName(-fd) === 'EEXIST' && this.#clear(dir, name)) fd = openAt(dir, name, CREATE, 0o600)
    if (fd < 0) return this.#fail(path, 'name', -fd)
    this.#result.entries += 1
    level.folder.use()
    await this.#files.take()
    const work = this.#fill(fd, level, stat, name, path).finally(() => {
      this.#files.give()
      this.#running.delete(work)
    })
    this.#running.add(work)
  }

  /** Its time is set when all else is done. */
  #isWhole(dir: number, name: Buffer, stat: RowStat): boolean {
    const there = this.#stat
    return (
      there.at(dir, name) === 0 &&
      (there.mode & FILE_TYPE.mask) === FILE_TYPE.file &&
      there.size === stat.size &&
      there.mtime === stat.mtime &&
      there.mtimeNs === stat.mtimeNs
    )
  }

  async #fill(fd: number, { folder, row }: Level, stat: RowStat, name: Buffer, path: Buffer): Promise<void> {
    const leader = this.#index.leader[stat.row] ?? stat.row
    const { supply, onProgress } = this.#request
    const onBytes = (bytes: number): void => {
      this.#result.bytes += bytes
      onProgress?.(this.#result.bytes, this.#index.contentBytes, this.#result.entries)
    }
    try {
      await writeContent(fd, this.#index, leader, supply, this.#blocks, onBytes, this.#signal)
      this.#attributes.ofOpen(fd, stat, path)
    } catch (error) {
      // Half a file is worse than none. The folder may have its time already.
      unlinkAt(folder.fd, name)
      const { mtime, mtimeNs } = rowStat(this.#index, row)
      setTime(folder.fd, mtime, mtimeNs)
      if (!this.#signal.aborted) this.#contentFailed(path, error)
    } finally {
      closeQuietly(fd)
      folder.release()
    }
  }

  #contentFailed(path: Buffer, error: unknown): void {
    if (FULL.has(systemCode(error))) this.#failure ??= this.#refused(systemCode(error), error)
    else this.#left.add(path, 'content', describeError(error))
    this.#result.entries -= 1
    this.#firstContent ??= error
    if (this.#result.bytes === 0 && (this.#left.counts.content ?? 0) >= HOPELESS) this.#failure ??= error
  }

  #makeSpecial(level: Level, stat: RowStat, name: Buffer, path: Buffer): void {
    const { fd: dir } = level.folder
    const make = (): number =>
      stat.target === undefined
        ? mknodAt(dir, name, stat.mode, stat.rdev)
        : symlinkAt(zeroEnded(stat.target), dir, name)
    let made = make()
    if (made < 0 && errnoName(-made) === 'EEXIST' && this.#clear(dir, name)) made = make()
    if (made < 0) return this.#fail(path, stat.target === undefined ? 'device' : 'name', -made)
    this.#result.entries += 1
    this.#attributes.ofEntry(dir, name, stat, path)
  }

  /** Takes away what is under a name, but no folder with something in it. */
  #clear(dir: number, name: Buffer): boolean {
    return unlinkAt(dir, name) === 0 || unlinkAt(dir, name, true) === 0
  }

  #fail(path: Buffer, kind: LeftOutKind, errno: number): void {
    invariant(errno > 0, 'a call that failed has an errno')
    const code = errnoName(errno)
    if (FULL.has(code)) this.#failure ??= this.#refused(code)
    else this.#left.add(path, kind, code)
  }
}

/** So many files without a single block: no store answers. */
const HOPELESS = 2 * LIMITS.unpackFilesAtOnce
/** Nothing that follows would fare better. */
const FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'ENFILE'])
