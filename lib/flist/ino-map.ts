import { GrowingF64 } from './columns.ts'

/** From inode numbers of an archive to entries. Numbers come in ascending order, mostly without gaps. */
export class InoMap {
  readonly #inos = new GrowingF64()
  readonly #rootIno: number
  #lastIno = -1
  #lastEntry = -1

  /** The root is entry 0 wherever its number lies. */
  constructor(rootIno: number) {
    this.#rootIno = rootIno
  }

  /** The next entry's number. False where it is not above the one before. */
  push(ino: number): boolean {
    const { values, length } = this.#inos
    if (length > 0 && ino <= (values[length - 1] ?? 0)) return false
    this.#inos.push(ino)
    return true
  }

  /** -1 where there is none. */
  entryOf(ino: number): number {
    if (ino === this.#rootIno) return 0
    if (ino === this.#lastIno) return this.#lastEntry
    const place = this.#find(ino)
    if (place < 0) return -1
    this.#lastIno = ino
    this.#lastEntry = place + 1
    return place + 1
  }

  inoOf(entry: number): number {
    return entry === 0 ? this.#rootIno : (this.#inos.values[entry - 1] ?? 0)
  }

  #find(ino: number): number {
    const { values, length } = this.#inos
    const guess = ino - (values[0] ?? 0)
    if (guess >= 0 && guess < length && values[guess] === ino) return guess
    let low = 0
    let high = length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((values[middle] ?? 0) < ino) low = middle + 1
      else high = middle
    }
    return low < length && values[low] === ino ? low : -1
  }
}
