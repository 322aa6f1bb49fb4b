import { constants, fchmodSync, mkdirSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { errnoName, systemCode } from '../../base/index.ts'
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
  removeXattrOf,
  symlinkAt,
  zeroEnded,
} from '../../system/index.ts'
import { OpenFolder } from '../open-folder.ts'
import { Attributes } from './attributes.ts'
import { clearName } from './clear-name.ts'
import type { BlockSupply } from './file-content.ts'
import { Files } from './files.ts'
import { type LocalContent, openMaking } from './maker-pool.ts'
import { Tally, type UnpackResult } from './tally.ts'

export interface UnpackRequest {
  readonly index: FlistIndex
  /** Made where it is not there; its parent must be. */
  readonly directory: string
  readonly supply: BlockSupply
  /** Where blocks lie in folders of this machine: files are made of those first. `supply` has them too. */
  readonly local?: LocalContent | undefined
  /** Plain bytes that are there, of how many, and names. */
  readonly onProgress?: ((bytes: number, total: number, entries: number) => void) | undefined
}

/**
 * Restores the tree of an archive in a folder. Nothing outside of it is touched: every name is made in a folder that is held open, and no
 * link is followed. What is there under a name of the archive is replaced, but for a folder that is in the way of something else; other names
 * stay. Called again after an interruption it reads only files that are not whole. Throws FLIST_SYSTEM for the folder itself and for a full
 * disk, FLIST_INTERRUPTED; what else cannot be restored is in the result.
 */
export async function unpackTree(request: UnpackRequest, signal: AbortSignal): Promise<UnpackResult> {
  const { index, local } = request
  await using making = local === undefined ? undefined : await openMaking(index, local)
  const tally = new Tally(request)
  return await new Unpacking(request, new Files(request, making, tally, signal), tally, signal).run()
}

/** Entries after which an interrupt is heard, where nothing else waits. */
const BREATH = 1000
const DEFAULT_ACL = zeroEnded(Buffer.from('system.posix_acl_default'))

interface Level {
  readonly folder: OpenFolder
  next: number
  readonly end: number
  /** Made in this run: there is nothing in it yet. */
  readonly isFresh: boolean
  /** Further names of inodes. */
  readonly links: number[]
}

/** The first name of an inode that has several, and whether it will be there. */
interface FirstName {
  readonly row: number
  readonly made: Promise<boolean> | boolean
}

class Unpacking {
  readonly #request: UnpackRequest
  readonly #index: FlistIndex
  readonly #signal: AbortSignal
  readonly #tally: Tally
  readonly #attributes: Attributes
  readonly #files: Files
  readonly #stat = new FileStat()
  /** By leader. */
  readonly #linked = new Map<number, FirstName>()
  #isEnding = false

  constructor(request: UnpackRequest, files: Files, tally: Tally, signal: AbortSignal) {
    this.#request = request
    this.#index = request.index
    this.#signal = signal
    this.#tally = tally
    this.#attributes = new Attributes(request.index, tally.left)
    this.#files = files
  }

  async run(): Promise<UnpackResult> {
    const levels = [this.#openRoot()]
    const umask = process.umask(0)
    let entries = 0
    try {
      for (let top = levels.at(-1); top !== undefined; top = levels.at(-1)) {
        if (this.#signal.aborted || this.#tally.hasFailed) break
        if (top.next >= top.end) {
          await this.#leave(top)
          levels.pop()
          continue
        }
        const row = top.next
        top.next += 1
        const child = await this.#make(top, row)
        if (child !== undefined) levels.push(child)
        entries += 1
        if (entries % BREATH === 0) await setImmediate()
      }
      if (levels.length === 0) await this.#files.flush()
    } finally {
      this.#isEnding = levels.length > 0
      await this.#files.settle()
      for (const { folder } of levels) folder.release()
      process.umask(umask)
    }
    this.#tally.check()
    this.#signal.throwIfAborted()
    return this.#tally.result
  }

  #openRoot(): Level {
    const { directory } = this.#request
    try {
      mkdirSync(directory)
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw this.#tally.refused(systemCode(error), error)
    }
    const fd = openPath(Buffer.from(directory), constants.O_RDONLY | constants.O_DIRECTORY)
    if (fd < 0) throw this.#tally.refused(errnoName(-fd))
    return this.#level(fd, 0, false)
  }

  /**
   * A folder gets its attributes when all that is in it is there: what came before would have changed its time, or been refused by
   * its mode.
   */
  #level(fd: number, row: number, isFresh: boolean): Level {
    const first = this.#index.first[row] ?? 0
    const folder = new OpenFolder(fd, () => {
      if (this.#isEnding) return
      const stat = rowStat(this.#index, row)
      if (isFresh) this.#attributes.ofOpen(fd, stat)
      else this.#attributes.ofFound(fd, stat)
    })
    // Files are not to inherit an ACL; one that the archive has comes back with the rest.
    if (!isFresh) removeXattrOf(fd, DEFAULT_ACL)
    this.#tally.result.entries += 1
    return { folder, next: first, end: first + (this.#index.count[row] ?? 0), isFresh, links: [] }
  }

  /** Links come last: then the files that they lead to are made, or will be without us. */
  async #leave({ folder, isFresh, links }: Level): Promise<void> {
    if (links.length > 0) await this.#files.flush()
    for (const row of links) await this.#makeLink(folder.fd, row, isFresh)
    folder.release()
  }

  /** Makes one entry; a folder's level is entered next. */
  async #make(level: Level, row: number): Promise<Level | undefined> {
    const leader = this.#index.leader[row] ?? row
    const type = (this.#index.mode[leader] ?? 0) & FILE_TYPE.mask
    if (type === FILE_TYPE.directory) return this.#makeFolder(level, row)
    const isShared = (this.#index.nlink[leader] ?? 1) > 1
    if (isShared && this.#linked.has(leader)) {
      level.links.push(row)
      return undefined
    }
    if (type !== FILE_TYPE.file) {
      const made = this.#makeSpecial(level, rowStat(this.#index, row))
      if (isShared) this.#linked.set(leader, { row, made })
      return undefined
    }
    const { folder, isFresh } = level
    folder.use()
    let done = (_made: boolean): void => folder.release()
    if (isShared) {
      const { promise, resolve } = Promise.withResolvers<boolean>()
      this.#linked.set(leader, { row, made: promise })
      done = (made) => {
        folder.release()
        resolve(made)
      }
    }
    await this.#files.add({ folder, row, isFresh, done })
    return undefined
  }

  #makeFolder(level: Level, row: number): Level | undefined {
    const { fd: dir } = level.folder
    const name = zeroEnded(this.#index.nameOf(row))
    let isFresh = true
    let made = mkdirAt(dir, name, 0o700)
    if (made < 0 && errnoName(-made) === 'EEXIST') {
      this.#stat.at(dir, name)
      isFresh = (this.#stat.mode & FILE_TYPE.mask) !== FILE_TYPE.directory
      if (!isFresh) made = 0
      else if (clearName(dir, name)) made = mkdirAt(dir, name, 0o700)
    }
    const fd = made < 0 ? made : openAt(dir, name, OPEN_FOLDER)
    if (fd < 0) {
      this.#tally.failed(this.#index.pathOf(row), 'name', -fd)
      return undefined
    }
    if (!isFresh) openToUs(fd)
    return this.#level(fd, row, isFresh)
  }

  /** A further name of an inode. */
  async #makeLink(fd: number, row: number, isFresh: boolean): Promise<void> {
    const first = this.#linked.get(this.#index.leader[row] ?? row)
    if (first === undefined || this.#signal.aborted) return
    const path = this.#index.pathOf(first.row)
    if (!(await first.made)) {
      this.#tally.left.add(this.#index.pathOf(row), 'link', 'the file is not there that it is a name of')
      return
    }
    const dir = this.#openBeneath(path.subarray(0, Math.max(0, path.lastIndexOf(0x2f))))
    const base = zeroEnded(this.#index.nameOf(first.row))
    const name = zeroEnded(this.#index.nameOf(row))
    let result = dir < 0 ? dir : linkAt(dir, base, fd, name)
    if (!isFresh && result < 0 && errnoName(-result) === 'EEXIST') {
      result = this.#isSame(dir, base, fd, name) ? 0 : clearName(fd, name) ? linkAt(dir, base, fd, name) : result
    }
    if (dir >= 0) closeFd(dir)
    if (result < 0) this.#tally.failed(this.#index.pathOf(row), 'link', -result)
    else this.#tally.result.entries += 1
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

  #makeSpecial({ folder }: Level, stat: RowStat): boolean {
    const { fd: dir } = folder
    const name = zeroEnded(this.#index.nameOf(stat.row))
    const make = (): number =>
      stat.target === undefined
        ? mknodAt(dir, name, stat.mode, stat.rdev)
        : symlinkAt(zeroEnded(stat.target), dir, name)
    let made = make()
    if (made < 0 && errnoName(-made) === 'EEXIST' && clearName(dir, name)) made = make()
    if (made < 0) {
      this.#tally.failed(this.#index.pathOf(stat.row), stat.target === undefined ? 'device' : 'name', -made)
      return false
    }
    this.#tally.result.entries += 1
    this.#attributes.ofEntry(dir, name, stat)
    return true
  }
}

/** A folder of an earlier run may have its last mode already. Where it is another's, what is to be made in it says so. */
function openToUs(fd: number): void {
  try {
    fchmodSync(fd, 0o700)
  } catch {
    // EPERM.
  }
}
