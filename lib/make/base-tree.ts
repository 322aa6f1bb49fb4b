import type { FlistIndex, Route } from '../flist/index.ts'
import type { FileStat } from '../system/index.ts'
import { FILE_TYPE } from '../flist/index.ts'
import { LIMITS } from '../base/index.ts'
import type { Xattr } from './file-xattrs.ts'

/**
 * An older archive of the same folder: a file that is as it was then has the blocks it had. As it was means same size and same
 * time of modification and of change, which the kernel sets anew with every write and every change of attributes.
 */
export class BaseTree {
  readonly #index: FlistIndex
  /** Seconds of the clock; files that changed later are read. Where the archive has nanoseconds, nothing need be guessed. */
  readonly #trustedUntil: number

  /** `madeAt`: when the base was made, in seconds, at the latest. */
  constructor(index: FlistIndex, madeAt: number) {
    this.#index = index
    this.#trustedUntil = index.mtimeNs === undefined && index.ctimeNs === undefined ? madeAt - 2 : Infinity
  }

  get routes(): readonly Route[] {
    return this.#index.routes
  }

  /** Row of a name in a folder's row, or -1. */
  child(row: number, name: Buffer): number {
    return row < 0 ? -1 : this.#index.find(row, name, 0, name.length)
  }

  /** Ids, keys and attributes of a file that is as it was; undefined where it must be read. Attributes that rfs had no place for are not known. */
  unchanged(row: number, stat: FileStat): { refs: Buffer; xattrs: readonly Xattr[] | undefined } | undefined {
    const index = this.#index
    if (row < 0 || ((index.mode[row] ?? 0) & FILE_TYPE.mask) !== FILE_TYPE.file || index.size[row] !== stat.size)
      return undefined
    if (!this.#sameTimes(row, stat)) return undefined
    const count = index.count[row] ?? 0
    // Damaged by its writer: read it again.
    if (count !== Math.ceil(stat.size / LIMITS.blockBytesMax)) return undefined
    const half = index.hashBytes
    const first = (index.first[row] ?? 0) * half
    const refs = Buffer.allocUnsafe(2 * half * count)
    for (let block = 0; block < count; block += 1) {
      index.ids.copy(refs, 2 * half * block, first + half * block, first + half * (block + 1))
      index.keys.copy(refs, 2 * half * block + half, first + half * block, first + half * (block + 1))
    }
    return { refs, xattrs: this.#trustedUntil === Infinity ? index.xattrs(row) : undefined }
  }

  #sameTimes(row: number, stat: FileStat): boolean {
    const { mtime, ctime, mtimeNs, ctimeNs } = this.#index
    if (secondsAt(mtime, row) !== stat.mtime || secondsAt(ctime, row) !== stat.ctime) return false
    if (this.#trustedUntil !== Infinity) return stat.ctime < this.#trustedUntil
    return (mtimeNs?.[row] ?? 0) === stat.mtimeNs && (ctimeNs?.[row] ?? 0) === stat.ctimeNs
  }
}

function secondsAt(times: Int32Array, row: number): number {
  return (times[row * 2 + 1] ?? 0) * 2 ** 32 + ((times[row * 2] ?? 0) >>> 0)
}
