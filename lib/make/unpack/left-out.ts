import { displayBytes } from '../../base/index.ts'

/** Why something of the archive is not in the folder as it should be. */
export type LeftOutKind = 'content' | 'device' | 'xattr' | 'owner' | 'mode' | 'time' | 'link' | 'name'

export interface LeftOut {
  readonly path: string
  readonly kind: LeftOutKind
  /** A sentence's end. */
  readonly why: string
}

/** Kept one by one; beyond them only their number. */
const KEPT_MAX = 10_000

/** What could not be restored. */
export class LeftOuts {
  readonly list: LeftOut[] = []
  readonly counts: Partial<Record<LeftOutKind, number>> = {}

  add(path: Buffer, kind: LeftOutKind, why: string): void {
    this.put({ path: path.length === 0 ? '.' : displayBytes(path), kind, why })
  }

  put(one: LeftOut): void {
    this.counts[one.kind] = (this.counts[one.kind] ?? 0) + 1
    if (this.list.length < KEPT_MAX) this.list.push(one)
  }
}
