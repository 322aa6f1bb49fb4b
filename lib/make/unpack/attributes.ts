import { fchmodSync, fchownSync } from 'node:fs'
import { errnoName, systemCode } from '../../base/index.ts'
import type { FlistIndex, RowStat } from '../../flist/index.ts'
import {
  chownAt,
  hasXattrs,
  removeXattrOf,
  setTime,
  setTimeAt,
  setXattrAt,
  setXattrOf,
  zeroEnded,
} from '../../system/index.ts'
import { xattrNames } from '../file-xattrs.ts'
import type { LeftOuts } from './left-out.ts'

const SET_IDS = 0o6000

/** Whose something is. */
export interface Owner {
  readonly uid: number
  readonly gid: number
}

/** Gives entries the attributes an archive has for them, and notes what may not be given. */
export class Attributes {
  readonly #index: FlistIndex
  readonly #left: LeftOuts
  readonly #uid = process.getuid?.() ?? 0
  readonly #gid = process.getgid?.() ?? 0
  /** Owners are not even tried as a user: they would all be refused. */
  readonly #isRoot = this.#uid === 0

  constructor(index: FlistIndex, left: LeftOuts) {
    this.#index = index
    this.#left = left
  }

  /**
   * Of an open file or folder: owner before mode and attributes, because a change of owner takes setuid and capabilities away. `now`:
   * whose it is, where that is known.
   */
  ofOpen(fd: number, stat: RowStat, now?: Owner): void {
    const owned = this.#owner(stat, now, () => fchownSync(fd, stat.uid, stat.gid))
    this.#try(stat, 'mode', () => fchmodSync(fd, this.#modeOf(stat, owned)))
    if (this.#index.hasXattrs) {
      for (const { name, value } of this.#index.xattrs(stat.row)) {
        this.#note(stat, 'xattr', setXattrOf(fd, zeroEnded(name), value), name)
      }
    }
    this.#note(stat, 'time', setTime(fd, stat.mtime, stat.mtimeNs))
  }

  /** Of an open file or folder that was there before: it loses what else it was given then. */
  ofFound(fd: number, stat: RowStat): void {
    if (hasXattrs(fd)) this.#dropOthers(fd, stat)
    this.ofOpen(fd, stat)
  }

  #dropOthers(fd: number, stat: RowStat): void {
    const there = xattrNames(zeroEnded(Buffer.from(`/proc/self/fd/${fd}`)), true)
    if (typeof there === 'number') return
    const wanted = this.#index.xattrs(stat.row)
    for (const name of there) {
      const bare = name.subarray(0, -1)
      if (!wanted.some((one) => one.name.equals(bare))) this.#note(stat, 'xattr', removeXattrOf(fd, name), bare)
    }
  }

  /** Of what cannot be opened: links and special files. Those are made with their mode. */
  ofEntry(dir: number, name: Buffer, stat: RowStat): void {
    this.#owner(stat, undefined, () => {
      const result = chownAt(dir, name, stat.uid, stat.gid)
      if (result < 0) throw Object.assign(new Error(errnoName(-result)), { code: errnoName(-result) })
    })
    for (const { name: attribute, value } of this.#index.xattrs(stat.row)) {
      this.#note(stat, 'xattr', setXattrAt(dir, name, zeroEnded(attribute), value), attribute)
    }
    this.#note(stat, 'time', setTimeAt(dir, name, stat.mtime, stat.mtimeNs))
  }

  #owner(stat: RowStat, now: Owner | undefined, chown: () => void): boolean {
    if (stat.uid === now?.uid && stat.gid === now.gid) return true
    if (this.#isRoot) return this.#try(stat, 'owner', chown)
    if (stat.uid === this.#uid && stat.gid === this.#gid) return true
    this.#left.add(this.#pathOf(stat), 'owner', `it belongs to ${stat.uid}:${stat.gid}, which needs root`)
    return false
  }

  /** A setuid file that belongs to the wrong user would be another program. */
  #modeOf(stat: RowStat, owned: boolean): number {
    return stat.mode & (owned ? 0o7777 : 0o7777 & ~SET_IDS)
  }

  #pathOf({ row }: RowStat): Buffer {
    return this.#index.pathOf(row)
  }

  #try(stat: RowStat, kind: 'owner' | 'mode', work: () => void): boolean {
    try {
      work()
      return true
    } catch (error) {
      this.#left.add(this.#pathOf(stat), kind, systemCode(error))
      return false
    }
  }

  #note(stat: RowStat, kind: 'xattr' | 'time', result: number, name?: Buffer): void {
    if (result >= 0) return
    const what = name === undefined ? '' : `${name.toString()}: `
    this.#left.add(this.#pathOf(stat), kind, `${what}${errnoName(-result)}`)
  }
}
