import { closeSync, fstatSync, openSync } from 'node:fs'
import { segmentPath } from '../store/index.ts'

const OPEN_MAX = 128

/** Open segment files of a cache, least recently used closed first. One per thread. */
export class SegmentFiles {
  readonly #cacheDir: string
  readonly #fds = new Map<number, number>()
  /** Segments opened since the last `takeUsed`; undefined where nobody asks. */
  readonly #used: Set<number> | undefined
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
    let fd = this.#fds.get(segment)
    if (fd === undefined) {
      try {
        fd = openSync(segmentPath(this.#cacheDir, segment), 'r')
      } catch {
        return -1
      }
    } else {
      this.#fds.delete(segment)
    }
    this.#fds.set(segment, fd)
    if (this.#fds.size > OPEN_MAX) this.#closeOldest()
    this.#used?.add(segment)
    this.#lastSegment = segment
    this.#lastFd = fd
    return fd
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
    for (const [segment, fd] of this.#fds) if (fstatSync(fd).nlink === 0) this.#close(segment, fd)
  }

  close(): void {
    for (const [segment, fd] of this.#fds) this.#close(segment, fd)
  }

  #closeOldest(): void {
    for (const [segment, fd] of this.#fds) {
      this.#close(segment, fd)
      return
    }
  }

  #close(segment: number, fd: number): void {
    closeSync(fd)
    this.#fds.delete(segment)
    if (segment === this.#lastSegment) this.#lastSegment = 0
  }
}
