import { LIMITS } from '../base/index.ts'
import { GrowingU32 } from './columns.ts'
import { beyondLimit, damaged } from './damage.ts'

/** Numbers the different pairs of user and group in order of first use. */
export class Owners {
  /** uid, gid, uid, gid, ... */
  readonly pairs = new GrowingU32()
  readonly #numbers = new Map<number, Map<number, number>>()
  #lastUid = -1
  #lastGid = -1
  #last = 0

  number(uid: number, gid: number): number {
    // Neighbours mostly have one owner.
    if (uid === this.#lastUid && gid === this.#lastGid) return this.#last
    if (!isId(uid) || !isId(gid)) throw damaged('this archive', `an entry's owner ${uid}:${gid} is not a pair of u32`)
    let groups = this.#numbers.get(uid)
    if (groups === undefined) this.#numbers.set(uid, (groups = new Map<number, number>()))
    let number = groups.get(gid)
    if (number === undefined) {
      number = this.pairs.length / 2
      if (number >= LIMITS.ownersMax) throw beyondLimit('this archive', `it has more than ${LIMITS.ownersMax} owners`)
      groups.set(gid, number)
      this.pairs.push(uid)
      this.pairs.push(gid)
    }
    this.#lastUid = uid
    this.#lastGid = gid
    this.#last = number
    return number
  }
}

function isId(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff
}
