import { closeSync, fstatSync, openSync } from 'node:fs'
import { segmentPath } from '../store/index.ts'

const OPEN_MAX = 128

interface OpenSegment {
  readonly fd: number
  /** When it was asked for last, in askings. */
  used: number
}

/** Open segment files of a cache, least recently used closed first. One per thread. */
export class SegmentFiles {
  readonly #cacheDir: string
  /**
   * Changed only where a file is opened or closed: a map in the order of use leaves a table behind for each hundred reads, and what
   * outlives one collection of the young keeps all that follow it (docs/decisions/250).
   */
  readonly #files = new Map<number, OpenSegment>()
  /** Segments opened since the last `takeUsed`; undefined where nobody asks. */
  readonly #used: Set<number> | undefined
  #asked = 0
  #lastSegment = 0
  #lastFd = -1

  /** `notesUse`: somebody calls `takeUsed` now and then. */
  constructor(cacheDir: string, notesUse = false) {
    this.#cacheDir = cacheDir
    this.#used = notesUse ? new Set() : undefined
  }

  /** A descriptor, or -1 where the file is gone or cannot be opened: then the block counts as not cached. */
  open(segment: number): number {
    if (segment === this.#lastSegment) return this.#lastFd
    const file = this.#files.get(segment) ?? this.#add(segment)
    if (file === undefined) return -1
    this.#asked += 1
    file.used = this.#asked
    this.#used?.add(segment)
    this.#lastSegment = segment
    this.#lastFd = file.fd
    return file.fd
  }

  /** Segments opened since the last time: what eviction should know. */
  takeUsed(): number[] {
    if (this.#used === undefined) return []
    const used = [...this.#used]
    this.#used.clear()
    if (this.#lastSegment !== 0) this.#used.add(this.#lastSegment)
    return used
  }

  /** Lets go of files that eviction unlinked: their space is free only when nobody has them open. */
  releaseUnlinked(): void {
    for (const [segment, { fd }] of this.#files) if (fstatSync(fd).nlink === 0) this.#close(segment, fd)
  }

  close(): void {
    for (const [segment, { fd }] of this.#files) this.#close(segment, fd)
  }

  #add(segment: number): OpenSegment | undefined {
    let fd: number
    try {
      fd = openSync(segmentPath(this.#cacheDir, segment), 'r')
    } catch {
      return undefined
    }
    if (this.#files.size === OPEN_MAX) this.#closeOldest()
    const file = { fd, used: 0 }
    this.#files.set(segment, file)
    return file
  }

  #closeOldest(): void {
    let oldest = 0
    let oldestUsed = Infinity
    for (const [segment, { used }] of this.#files) {
      if (used >= oldestUsed) continue
      oldest = segment
      oldestUsed = used
    }
    this.#close(oldest, this.#files.get(oldest)?.fd ?? -1)
  }

  #close(segment: number, fd: number): void {
    closeSync(fd)
    this.#files.delete(segment)
    if (segment === this.#lastSegment) this.#lastSegment = 0
  }
}
