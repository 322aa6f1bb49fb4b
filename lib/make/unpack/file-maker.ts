import { constants, ftruncateSync } from 'node:fs'
import { errnoName, LIMITS } from '../../base/index.ts'
import { FILE_TYPE, type FlistIndex, rowStat, type RowStat } from '../../flist/index.ts'
import { encodeBlock, freeBytes, LocalBlocks, type LocalRoute } from '../../store/index.ts'
import { closeFd, FileStat, openAt, unlinkAt, zeroEnded } from '../../system/index.ts'
import { Attributes, type Owner } from './attributes.ts'
import { clearName } from './clear-name.ts'
import { blockRef, blocksOf, writeSolid } from './file-content.ts'
import { type LeftOut, LeftOuts } from './left-out.ts'

/** Whole files to be made. */
export interface FilesJob {
  readonly kind: 'files'
  /** The open folder of each. */
  readonly dirs: Int32Array
  readonly rows: Uint32Array
  /** 1 where the folder was made in this run: nothing lies under the name. */
  readonly fresh: Uint8Array
}

/** Blocks of one open file that has its size already. */
export interface PartJob {
  readonly kind: 'part'
  readonly fd: number
  /** A leader's. */
  readonly row: number
  /** The first block, and the one after the last. */
  readonly from: number
  readonly to: number
}

export type MakerJob = FilesJob | PartJob

export interface MakerResult {
  /** Plain bytes that are there now; holes count. */
  bytes: number
  /** Files that were there already. */
  kept: number
  /** What is to be done by another way: places in the job's `rows`, of which nothing is left, or blocks of the part. */
  readonly undone: number[]
  readonly leftOut: readonly LeftOut[]
}

/** What makes a file that is not there; what opens one that is. */
export const CREATE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
export const EXISTING = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** A file of a job. */
interface Plan {
  readonly dir: number
  readonly name: Buffer
  readonly stat: RowStat
  readonly isThere: boolean
  /** Descriptors of its blocks, or why there is none. */
  readonly blocks: readonly number[]
}

/** In the place of a block's descriptor. */
const HOLE = -2

/**
 * Makes files of blocks that lie in folders of this machine, one after the other, without waiting for anybody but the disk. What goes
 * wrong with a file is not its matter: the file is undone, and the way that can wait says why.
 */
export class FileMaker implements Disposable {
  readonly #index: FlistIndex
  readonly #local: LocalBlocks
  readonly #stat = new FileStat()
  readonly #zeros: Buffer
  #attributes: Attributes
  /** Whose a file is that is made in the folder at hand. */
  #owner: Owner | undefined

  /** `prepareCodec()` comes before it. */
  constructor(index: FlistIndex, routes: readonly LocalRoute[]) {
    this.#index = index
    this.#local = new LocalBlocks(routes)
    this.#zeros = encodeBlock(index.format, Buffer.alloc(LIMITS.blockBytesMax)).key
    this.#attributes = new Attributes(index, new LeftOuts())
  }

  run(job: MakerJob): MakerResult {
    const left = new LeftOuts()
    this.#attributes = new Attributes(this.#index, left)
    const result: MakerResult = { bytes: 0, kept: 0, undone: [], leftOut: left.list }
    if (job.kind === 'part') this.#part(job, result)
    else this.#files(job, result)
    return result
  }

  [Symbol.dispose](): void {
    this.#local[Symbol.dispose]()
  }

  /** All blocks are opened first, so that a disk has many to read at a time. */
  #files({ dirs, rows, fresh }: FilesJob, result: MakerResult): void {
    const plans = Array.from(rows, (row, nth) => this.#plan(dirs[nth] ?? -1, row, fresh[nth] === 1))
    let dir = -1
    for (const [nth, plan] of plans.entries()) {
      if (plan.dir !== dir) this.#owner = undefined
      dir = plan.dir
      const isDone = plan.isThere ? this.#keep(plan) : this.#make(plan)
      if (!isDone) result.undone.push(nth)
      else if (plan.isThere) result.kept += 1
      else result.bytes += plan.stat.size
    }
  }

  #plan(dir: number, row: number, isFresh: boolean): Plan {
    const name = zeroEnded(this.#index.nameOf(row))
    const stat = rowStat(this.#index, row)
    const isThere = !isFresh && isWhole(this.#stat, dir, name, stat)
    const count = isThere ? 0 : blocksOf(stat.size)
    const blocks = Array.from({ length: count }, (_, nth) => this.#open(stat.ino - 1, nth))
    return { dir, name, stat, isThere, blocks }
  }

  #open(leader: number, nth: number): number {
    const ref = blockRef(this.#index, leader, nth)
    return nth >= (this.#index.count[leader] ?? 0)
      ? -1
      : ref.plainBytes === LIMITS.blockBytesMax && ref.key.equals(this.#zeros)
        ? HOLE
        : this.#local.open(ref.id)
  }

  #keep({ dir, name, stat }: Plan): boolean {
    const fd = openAt(dir, name, EXISTING)
    if (fd < 0) return false
    this.#attributes.ofFound(fd, stat)
    closeFd(fd)
    return true
  }

  #make({ dir, name, stat, blocks }: Plan): boolean {
    let fd = openAt(dir, name, CREATE, 0o600)
    if (fd < 0 && errnoName(-fd) === 'EEXIST' && clearName(dir, name)) fd = openAt(dir, name, CREATE, 0o600)
    if (fd < 0 || !this.#fill(fd, stat, blocks)) {
      if (fd < 0) closeAll(blocks, 0)
      else unlinkAt(dir, name)
      if (fd >= 0) closeFd(fd)
      return false
    }
    if (this.#owner === undefined && this.#stat.of(fd) === 0) {
      this.#owner = { uid: this.#stat.uid, gid: this.#stat.gid }
    }
    this.#attributes.ofOpen(fd, stat, this.#owner)
    closeFd(fd)
    return true
  }

  #fill(fd: number, stat: RowStat, blocks: readonly number[]): boolean {
    let end = 0
    for (const [nth, block] of blocks.entries()) {
      if (block === HOLE) continue
      const written = this.#write(fd, stat.ino - 1, nth, block)
      if (written === undefined) {
        closeAll(blocks, nth + 1)
        return false
      }
      end = Math.max(end, written)
    }
    try {
      if (end < stat.size) ftruncateSync(fd, stat.size)
      return true
    } catch {
      return false
    }
  }

  /** Where the content of the block ends in the file; undefined where it is not there. */
  #write(fd: number, leader: number, nth: number, block: number): number | undefined {
    const plain = block < 0 ? undefined : this.#local.take(block, blockRef(this.#index, leader, nth))
    if (plain === undefined) return undefined
    try {
      return writeSolid(fd, plain, nth * LIMITS.blockBytesMax)
    } catch {
      return undefined
    } finally {
      freeBytes(plain)
    }
  }

  #part({ fd, row, from, to }: PartJob, result: MakerResult): void {
    const blocks = Array.from({ length: to - from }, (_, nth) => this.#open(row, from + nth))
    for (const [at, block] of blocks.entries()) {
      const nth = from + at
      if (block === HOLE || this.#write(fd, row, nth, block) !== undefined) {
        result.bytes += blockRef(this.#index, row, nth).plainBytes
      } else result.undone.push(nth)
    }
  }
}

function closeAll(blocks: readonly number[], from: number): void {
  for (const fd of blocks.slice(from)) if (fd >= 0) closeFd(fd)
}

/**
 * Whether a file is there as the archive has it: its time is set when all else is done. One with more names is made anew: another of
 * them may lie outside of the folder, and would get our attributes.
 */
export function isWhole(there: FileStat, dir: number, name: Buffer, stat: RowStat): boolean {
  return (
    there.at(dir, name) === 0 &&
    (there.mode & FILE_TYPE.mask) === FILE_TYPE.file &&
    there.nlink <= stat.nlink &&
    there.size === stat.size &&
    there.mtime === stat.mtime &&
    there.mtimeNs === stat.mtimeNs
  )
}
