import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { systemCode } from '../../base/index.ts'
import { segmentFiles } from './database.ts'
import { isPossible, segmentPath } from './layout.ts'
import type { Location } from './layout.ts'

const DESCRIPTORS_MAX = 32
/** Segments whose length is remembered: those that other processes remove are never heard of again. */
const KNOWN_MAX = 1024

/** The file of a segment is shorter than it was. */
export class ShortSegmentError extends Error {
  override readonly name = 'ShortSegmentError'
  readonly segment: number

  constructor(segment: number) {
    super(`segment ${segment} was cut`)
    this.segment = segment
  }
}

/** The segment files of one cache folder, as one process reads and writes them. System errors come out as they are. */
export class SegmentFiles {
  readonly #dir: string
  /** Open files, the one used longest ago first. */
  readonly #open = new Map<number, number>()
  /** Bytes each file is known to have: files only grow. */
  readonly #known = new Map<number, number>()

  constructor(dir: string) {
    this.#dir = dir
  }

  /** True when the file holds all of `at`; asks the system only where that is not known yet. */
  covers(at: Location): boolean {
    const end = at.offset + at.bytes
    if (!isPossible(at)) return false
    if (end <= (this.#known.get(at.segment) ?? 0)) return true
    const bytes = statSync(segmentPath(this.#dir, at.segment), { throwIfNoEntry: false })?.size ?? 0
    if (bytes > 0) this.#learn(at.segment, bytes)
    return end <= bytes
  }

  exists(segment: number): boolean {
    return statSync(segmentPath(this.#dir, segment), { throwIfNoEntry: false }) !== undefined
  }

  /** Bytes of the file as it is now; undefined where there is none. */
  bytesOf(segment: number): number | undefined {
    return statSync(segmentPath(this.#dir, segment), { throwIfNoEntry: false })?.size
  }

  /** Every segment's file that is here. */
  ids(): number[] {
    return segmentFiles(this.#dir)
  }

  /** Makes the file of a new shared segment. */
  create(segment: number): void {
    const path = segmentPath(this.#dir, segment)
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    this.#keep(segment, openSync(path, 'wx+', 0o600))
  }

  /** Makes the sparse file of a large file's own segment. */
  createSparse(segment: number, fileBytes: number): void {
    this.create(segment)
    this.openSparse(segment, fileBytes)
  }

  /** Opens one that another process made, which may not have come to give it its length. */
  openSparse(segment: number, fileBytes: number): void {
    const fd = this.#descriptor(segment)
    if (fstatSync(fd).size < fileBytes) ftruncateSync(fd, fileBytes)
    this.#learn(segment, fileBytes)
  }

  /** Bytes of the file as it is now. */
  size(segment: number): number {
    return fstatSync(this.#descriptor(segment)).size
  }

  write(at: Location, bytes: Uint8Array): void {
    try {
      this.#write(at, bytes)
    } catch (error) {
      if (systemCode(error) !== 'EBADF') throw error
      // Opened while the disk could only be read.
      this.forget(at.segment)
      this.#write(at, bytes)
    }
  }

  /** Takes away what lies behind `bytes`, if it can. */
  cut(segment: number, bytes: number): void {
    try {
      const fd = this.#descriptor(segment)
      if (fstatSync(fd).size > bytes) ftruncateSync(fd, bytes)
    } catch {
      // Then the next block goes elsewhere.
    }
  }

  #write(at: Location, bytes: Uint8Array): void {
    const fd = this.#descriptor(at.segment)
    // Somebody cut the file: what is written now would leave zeros where rows point (fstat: 1 us a block).
    if (fstatSync(fd).size < (this.#known.get(at.segment) ?? 0)) throw new ShortSegmentError(at.segment)
    let done = 0
    while (done < bytes.length) done += writeSync(fd, bytes, done, bytes.length - done, at.offset + done)
    const end = at.offset + at.bytes
    if (end > (this.#known.get(at.segment) ?? 0)) this.#learn(at.segment, end)
  }

  /** Undefined when the file is gone or ends before. */
  read(at: Location): Buffer | undefined {
    const bytes = Buffer.allocUnsafe(at.bytes)
    try {
      const fd = this.#descriptor(at.segment)
      let done = 0
      while (done < at.bytes) {
        const count = readSync(fd, bytes, done, at.bytes - done, at.offset + done)
        if (count === 0) return undefined
        done += count
      }
      return bytes
    } catch (error) {
      if (systemCode(error) === 'ENOENT' || systemCode(error) === 'EIO') return undefined
      throw error
    }
  }

  /** Lets go of what is known and open; the file stays. */
  forget(segment: number): void {
    const fd = this.#open.get(segment)
    if (fd !== undefined) closeSync(fd)
    this.#open.delete(segment)
    this.#known.delete(segment)
  }

  remove(segment: number): void {
    this.forget(segment)
    try {
      unlinkSync(segmentPath(this.#dir, segment))
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
    }
  }

  /** Lets go of files that were removed: their space is free only when nobody has them open. */
  releaseUnlinked(): void {
    for (const [segment, fd] of this.#open) if (fstatSync(fd).nlink === 0) this.forget(segment)
  }

  close(): void {
    for (const segment of this.#open.keys()) this.forget(segment)
  }

  /** Segments whose length is remembered. */
  get known(): number {
    return this.#known.size
  }

  #learn(segment: number, bytes: number): void {
    this.#known.set(segment, bytes)
    if (this.#known.size <= KNOWN_MAX) return
    // What is written to has its descriptor, and is not forgotten: its length tells whether somebody cut it.
    for (const oldest of this.#known.keys()) {
      if (this.#open.has(oldest)) continue
      this.#known.delete(oldest)
      return
    }
  }

  #descriptor(segment: number): number {
    const known = this.#open.get(segment)
    if (known !== undefined) {
      this.#open.delete(segment)
      this.#open.set(segment, known)
      return known
    }
    return this.#keep(segment, openSegment(segmentPath(this.#dir, segment)))
  }

  #keep(segment: number, fd: number): number {
    for (const oldest of this.#open.keys()) {
      if (this.#open.size < DESCRIPTORS_MAX) break
      this.forget(oldest)
    }
    this.#open.set(segment, fd)
    return fd
  }
}

/** For reading alone where the disk cannot be written: a write then fails by itself. */
function openSegment(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_NOFOLLOW)
  } catch (error) {
    if (!['EROFS', 'EACCES', 'EPERM'].includes(systemCode(error))) throw error
    return openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  }
}
