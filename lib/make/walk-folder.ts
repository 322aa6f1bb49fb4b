import { constants } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { errnoName, FlistError, LIMITS } from '../base/index.ts'
import type { TreeBuilder } from '../flist/index.ts'
import {
  closeFd,
  type FileIdentity,
  FileStat,
  OPEN_FILE,
  OPEN_FOLDER,
  openAt,
  namesIn,
  readlinkAt,
  STAMP_BYTES,
} from '../system/index.ts'
import type { ArchiveMaker } from './archive-maker.ts'
import type { BaseTree } from './base-tree.ts'
import type { FileTask } from './file-task.ts'
import { readXattrs, type Xattr } from './file-xattrs.ts'
import { findHoles } from './holes.ts'
import { type Attributes, LinkGroups, pathOf, type Place } from './link-groups.ts'
import { OpenFolder } from './open-folder.ts'
import type { Problems } from './problems.ts'

export interface WalkOptions {
  /** Of a path below the root. */
  readonly excludes?: ((path: Buffer) => boolean) | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  /** Given to all in place of their own times. */
  readonly time?: { readonly seconds: number; readonly nanoseconds: number } | undefined
  readonly oneFileSystem?: boolean | undefined
  /** Symbolic links are what they lead to. */
  readonly follow?: boolean | undefined
  readonly base?: BaseTree | undefined
  /** What must not be packed: the archive itself is left out, a store is refused. */
  readonly archive?: FileIdentity | undefined
  readonly stores: readonly FileIdentity[]
}

export interface WalkCounters {
  entries: number
  /** Files whose blocks were taken from the base. */
  reused: number
  reusedBytes: number
}

/** A folder that is still to be read. */
interface Pending {
  /** Holds the folder it is in. */
  readonly above: OpenFolder
  readonly name: Buffer
  readonly path: Buffer
  readonly entry: number
  /** Row in the base, or -1. */
  readonly baseRow: number
  /** It and the folders above it: only where links are followed, since only they make circles. */
  readonly chain: Chain | undefined
}

interface Chain {
  readonly key: string
  readonly above: Chain | undefined
}

const EMPTY = Buffer.alloc(0)
const HERE = Buffer.from('.\0')
const ENTRIES_PER_TURN = 512
/** Of every folder, where the archive shall not tell when and where the tree was made. */
const FOLDER_BYTES = 4096

/** Walks a folder into a tree, its files' blocks made on the way: all is known once the maker has finished. */
export class FolderWalk {
  readonly #tree: TreeBuilder
  readonly #maker: ArchiveMaker
  readonly #problems: Problems
  readonly #options: WalkOptions
  readonly #stat = new FileStat()
  readonly #signal: AbortSignal
  /** Blocks of the base are in the stores; else they are looked for one by one. */
  readonly #sharesStores: boolean
  readonly #links: LinkGroups
  readonly #target = Buffer.allocUnsafeSlow(LIMITS.linkTargetBytesMax + 1)
  readonly #pending: Pending[] = []
  #rootSystem = 0
  #turn = 0
  readonly counters: WalkCounters = { entries: 0, reused: 0, reusedBytes: 0 }

  constructor(maker: ArchiveMaker, problems: Problems, options: WalkOptions, signal: AbortSignal) {
    this.#signal = signal
    this.#sharesStores = options.base !== undefined && maker.sharesStores(options.base.routes)
    this.#tree = maker.tree
    this.#maker = maker
    this.#problems = problems
    this.#options = options
    this.#links = new LinkGroups(maker.tree, problems)
  }

  /** `fd` is the root's. */
  async walk(fd: number): Promise<void> {
    const stat = this.#stat
    const failed = stat.of(fd)
    if (failed < 0) throw new FlistError('FLIST_SYSTEM', `Cannot read the folder to pack: ${errnoName(-failed)}`)
    this.#rootSystem = stat.system
    const chain = this.#chain(undefined)
    const place: Place = { parent: -1, name: EMPTY, folder: EMPTY }
    const root = this.#add(place, this.#attributes(this.#folderBytes()))
    this.#xattrsTo(root, place, readXattrs(Buffer.from(`/proc/self/fd/${fd}\0`), true))
    const above = new OpenFolder(openAt(fd, HERE, OPEN_FOLDER))
    this.#pending.push({ above, name: HERE, path: EMPTY, entry: root, baseRow: 0, chain })
    try {
      for (let next = this.#pending.pop(); next !== undefined; next = this.#pending.pop()) {
        await this.#readFolder(next)
      }
    } finally {
      for (const { above } of this.#pending.splice(0)) above.release()
    }
  }

  async #readFolder(pending: Pending): Promise<void> {
    const flags = this.#options.follow ? OPEN_FOLDER & ~constants.O_NOFOLLOW : OPEN_FOLDER
    const fd = openAt(pending.above.fd, pending.name, flags)
    pending.above.release()
    if (fd < 0) return this.#unreadable(pending.path, -fd)
    const folder = new OpenFolder(fd)
    try {
      const names = namesIn(fd)
      if (typeof names === 'number') return this.#unreadable(pending.path, names)
      const prefix = Buffer.from(`/proc/self/fd/${fd}/`)
      const below: Pending[] = []
      const visit: Visit = { folder, pending, prefix, below }
      for (const name of names) {
        const wait = this.#visit(visit, name)
        if (wait !== undefined) await wait
        this.#turn += 1
        if (this.#turn % ENTRIES_PER_TURN !== 0) continue
        await nextTurn()
        this.#signal.throwIfAborted()
      }
      for (const each of below) this.#pending.push(each)
    } finally {
      folder.release()
    }
  }

  /** A folder whose names cannot be had; without those of the root there is nothing to pack. */
  #unreadable(path: Buffer, errno: number): void {
    if (path.length > 0) return this.#problems.failed(path, errno)
    throw new FlistError('FLIST_SYSTEM', `Cannot read the folder to pack: ${errnoName(errno)}`)
  }

  /** `ended`: the name with a NUL. A promise only where there is something to wait for: most entries have nothing. */
  #visit(at: Visit, ended: Buffer): Promise<void> | undefined {
    const { pending, folder } = at
    const { follow = false, excludes } = this.#options
    const stat = this.#stat
    const place: Place = { parent: pending.entry, name: ended.subarray(0, -1), folder: pending.path }
    if (excludes?.(pathOf(place))) return undefined
    const failed = stat.at(folder.fd, ended, follow)
    if (failed < 0) {
      // With links followed, what leads nowhere is missing, not gone.
      const isDangling = follow && stat.at(folder.fd, ended) === 0
      if (isDangling) this.#problems.add(pathOf(place), 'unreadable', 'its target is not there')
      else this.#problems.failed(pathOf(place), -failed)
      return undefined
    }
    // With links followed, one file may be met under names that its count does not know.
    const isShared = stat.nlink > 1 || follow
    if (this.#options.archive !== undefined && stat.is(this.#options.archive)) return undefined
    const type = stat.mode & constants.S_IFMT
    if (type === constants.S_IFDIR) {
      this.#visitFolder(at, place, ended)
      return undefined
    }
    const linkKey = isShared ? `${stat.system}.${stat.ino}` : ''
    if (linkKey !== '' && this.#links.join(linkKey, place)) {
      this.counters.entries += 1
      return undefined
    }
    if (type === constants.S_IFREG) return this.#visitFile(at, place, ended, linkKey)
    this.#visitOther(at, place, ended, type === constants.S_IFLNK, linkKey)
    return undefined
  }

  #visitFolder({ pending, folder, prefix, below }: Visit, place: Place, ended: Buffer): void {
    const stat = this.#stat
    const { oneFileSystem = false, stores, base } = this.#options
    if (stores.some((store) => stat.is(store))) {
      throw new FlistError('FLIST_USAGE', 'Cannot pack a folder into a store that lies in it', {
        hint: 'Put the store elsewhere, or leave it out: --exclude',
      })
    }
    const isElsewhere = oneFileSystem && stat.system !== this.#rootSystem
    const chain = this.#chain(pending.chain)
    if (chain !== undefined && isCircle(chain))
      return this.#problems.add(pathOf(place), 'loop', 'it leads back to a folder above it')
    const entry = this.#add(place, this.#attributes(this.#folderBytes()))
    this.#xattrsTo(entry, place, readXattrs(xattrPath(prefix, ended), this.#options.follow ?? false))
    if (isElsewhere) return
    const baseRow = base?.child(pending.baseRow, place.name) ?? -1
    folder.use()
    below.push({ above: folder, name: ended, path: pathOf(place), entry, baseRow, chain })
  }

  #visitFile(
    { pending, folder, prefix }: Visit,
    place: Place,
    ended: Buffer,
    linkKey: string,
  ): Promise<void> | undefined {
    const stat = this.#stat
    const { follow = false, base } = this.#options
    const attributes = this.#attributes(stat.size)
    const known = base?.unchanged(base.child(pending.baseRow, place.name), stat)
    const reuse = (refs: Buffer): void => {
      this.counters.reused += 1
      this.counters.reusedBytes += attributes.size
      const xattrs = known?.xattrs ?? readXattrs(xattrPath(prefix, ended), follow)
      this.#addFile(place, attributes, xattrs, refs, linkKey)
    }
    if (known !== undefined && this.#sharesStores) {
      reuse(known.refs)
      return undefined
    }
    const stamp = Buffer.allocUnsafe(STAMP_BYTES)
    stat.stamp(stamp, 0)
    const size = stat.size
    const isSparse = size > LIMITS.blockBytesMax && stat.allocated < size
    const holes = isSparse ? holesOf(folder.fd, ended, size) : []
    const task: FileTask = {
      folder,
      name: ended,
      follow,
      size,
      stamp,
      holes,
      done: (outcome) => {
        if (outcome.state === 'failed') {
          this.#problems.failed(pathOf(place), outcome.errno)
          this.#links.lost(linkKey, outcome.errno)
          return
        }
        if (outcome.changed) this.#problems.add(pathOf(place), 'changed', 'it changed while it was read')
        const xattrs = outcome.hasXattrs ? readXattrs(xattrPath(prefix, ended), follow) : []
        const its = outcome.bytes === attributes.size ? attributes : { ...attributes, size: outcome.bytes }
        this.#addFile(place, its, xattrs, outcome.refs, linkKey)
      },
    }
    if (known === undefined) return this.#maker.writer.addFile(task)
    return this.#maker.hasBlocks(known.refs, this.#signal).then((isThere) => {
      return isThere ? reuse(known.refs) : this.#maker.writer.addFile(task)
    })
  }

  #addFile(
    place: Place,
    attributes: Attributes,
    xattrs: readonly Xattr[] | number,
    refs: Buffer,
    linkKey: string,
  ): void {
    const entry = this.#add(place, attributes)
    this.#maker.addBlocks(entry, refs)
    this.#xattrsTo(entry, place, xattrs)
    if (linkKey !== '') this.#links.found(linkKey, entry, attributes)
  }

  #visitOther({ folder, prefix }: Visit, place: Place, ended: Buffer, isLink: boolean, linkKey: string): void {
    const attributes = this.#attributes(0)
    let target: Buffer | undefined
    if (isLink) {
      const bytes = readlinkAt(folder.fd, ended, this.#target)
      if (bytes < 0) return this.#problems.failed(pathOf(place), -bytes)
      target = Buffer.from(this.#target.subarray(0, bytes))
    }
    const entry = this.#add(place, target === undefined ? attributes : { ...attributes, size: target.length })
    if (target !== undefined) this.#tree.setTarget(entry, target)
    this.#xattrsTo(entry, place, readXattrs(xattrPath(prefix, ended), this.#options.follow ?? false))
    if (linkKey !== '') this.#links.found(linkKey, entry, attributes)
  }

  /** What the file system says goes by how the folder grew: a copy of the tree may have another. */
  #folderBytes(): number {
    return this.#options.time === undefined ? this.#stat.size : FOLDER_BYTES
  }

  #attributes(size: number): Attributes {
    const stat = this.#stat
    const { uid, gid, time } = this.#options
    return {
      mode: stat.mode,
      uid: uid ?? stat.uid,
      gid: gid ?? stat.gid,
      size,
      rdev: stat.rdev,
      mtime: time?.seconds ?? stat.mtime,
      mtimeNs: time?.nanoseconds ?? stat.mtimeNs,
      ctime: time?.seconds ?? stat.ctime,
      ctimeNs: time?.nanoseconds ?? stat.ctimeNs,
    }
  }

  #add({ parent, name }: Place, its: Attributes): number {
    const { mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs } = its
    const entry = this.#tree.add(name, mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs)
    if (parent >= 0) this.#tree.setParent(entry, parent)
    this.counters.entries += 1
    return entry
  }

  #xattrsTo(entry: number, place: Place, xattrs: readonly Xattr[] | number): void {
    if (typeof xattrs === 'number') {
      this.#problems.add(pathOf(place), 'unreadable', `its extended attributes cannot be read: ${errnoName(xattrs)}`)
      return
    }
    for (const { name, value } of xattrs) this.#tree.setXattr(entry, name, value)
  }

  #chain(above: Chain | undefined): Chain | undefined {
    return this.#options.follow ? { key: `${this.#stat.system}.${this.#stat.ino}`, above } : undefined
  }
}

interface Visit {
  readonly folder: OpenFolder
  readonly pending: Pending
  /** `/proc/self/fd/N/`: names below it lead nowhere else, whatever is renamed meanwhile. */
  readonly prefix: Buffer
  readonly below: Pending[]
}

function xattrPath(prefix: Buffer, ended: Buffer): Buffer {
  return Buffer.concat([prefix, ended])
}

function isCircle({ key, above }: Chain): boolean {
  for (let at = above; at !== undefined; at = at.above) if (at.key === key) return true
  return false
}

function holesOf(dir: number, ended: Buffer, size: number): readonly (readonly [number, number])[] {
  const fd = openAt(dir, ended, OPEN_FILE)
  if (fd < 0) return []
  try {
    return findHoles(fd, size)
  } finally {
    closeFd(fd)
  }
}
