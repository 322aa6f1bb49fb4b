import { codeReason, displayBytes, errnoName } from '../base/index.ts'

/** Something that is not in the archive as it was, or not at all. */
export interface Problem {
  /** For people; `.` is the root. */
  readonly path: string
  readonly what: 'changed' | 'vanished' | 'unreadable' | 'loop' | 'refused'
  /** A sentence's end. */
  readonly why: string
}

/** Problems kept one by one; beyond them only their number. */
const KEPT_MAX = 10_000

/** What could not be packed as it is. The archive that lacks it is not silently wrong. */
export class Problems {
  readonly list: Problem[] = []
  count = 0

  add(path: Uint8Array, what: Problem['what'], why: string): void {
    this.count += 1
    if (this.list.length < KEPT_MAX) this.list.push({ path: path.length === 0 ? '.' : displayBytes(path), what, why })
  }

  /** What an errno means for a file that was to be packed. */
  failed(path: Uint8Array, errno: number): void {
    const code = errnoName(errno)
    if (code === 'ENOENT' || code === 'ENOTDIR') this.add(path, 'vanished', 'it vanished while the tree was read')
    else if (errno < 0 || code === 'ELOOP')
      this.add(path, 'changed', 'it was replaced by something else while the tree was read')
    else this.add(path, 'unreadable', `it cannot be read: ${codeReason(code)}`)
  }
}
