import { LIMITS, systemCode } from '../../base/index.ts'
import type { Ledger, OwnSegment } from './ledger.ts'
import { alignUp } from './layout.ts'
import type { Location, Place } from './layout.ts'
import type { SegmentFiles } from './segment-files.ts'

const MAKING_S = 10

/** Decides where bytes go and puts them there. Each process appends to a shared segment that no other process writes. */
export class Appender {
  readonly #files: SegmentFiles
  readonly #segmentBytes: number
  #current: { segment: number; end: number } | undefined
  /** Segments of large files, by `Place.file`. */
  readonly #own = new Map<string, number>()
  readonly #adopts: boolean
  #mayAdopt: boolean
  readonly #onDamaged: (segment: number) => void

  /** `onDamaged` is told of a segment whose file is not there, or shorter than its rows say; `adopts`: goes on in segments of the dead. */
  constructor(files: SegmentFiles, segmentBytes: number, onDamaged: (segment: number) => void, adopts = true) {
    this.#adopts = adopts
    this.#mayAdopt = adopts
    this.#files = files
    this.#onDamaged = onDamaged
    this.#segmentBytes = segmentBytes
  }

  /** Writes at the end of the current segment. SQLite's and the system's errors come out as they are. */
  append(ledger: Ledger, bytes: Uint8Array, now: number): Location {
    if (this.#current === undefined || !this.#isMine(this.#current, bytes.length)) this.#next(ledger, now)
    const current = this.#current!
    const at = { segment: current.segment, offset: current.end, bytes: bytes.length }
    try {
      this.#files.write(at, bytes)
    } catch (error) {
      // What came of it is in nobody's way.
      this.#files.cut(current.segment, current.end)
      throw error
    }
    current.end = alignUp(at.offset + at.bytes)
    return at
  }

  /**
   * There is room, and nobody else has written there: another machine that uses the folder (by NFS, or from a virtual one) cannot see
   * that we live, and takes our place.
   */
  #isMine(current: { segment: number; end: number }, bytes: number): boolean {
    return current.end + bytes <= this.#segmentBytes && this.#files.size(current.segment) <= current.end
  }

  /** Writes at its place in the file's own segment; undefined while that segment is being removed. */
  writeInPlace(ledger: Ledger, bytes: Uint8Array, place: Place, now: number): Location | undefined {
    const segment = this.ownSegment(ledger, place.file, place.fileBytes, now)
    if (segment === undefined) return undefined
    const at = { segment, offset: place.offset, bytes: bytes.length }
    this.#files.write(at, bytes)
    return at
  }

  /**
   * The segment of a large file. Undefined while it is being removed, and where its file is missing: that file is never
   * made again, for rows may point into it, and would find zeros.
   */
  ownSegment(ledger: Ledger, file: string, fileBytes: number, now: number): number | undefined {
    const known = this.#own.get(file)
    if (known !== undefined) return known
    const own = ledger.ownSegment(file, fileBytes, now)
    if (own === undefined) return undefined
    if (own.made) this.#files.createSparse(own.id, fileBytes)
    else if (!this.#open(own, fileBytes, now)) return undefined
    this.#own.set(file, own.id)
    return own.id
  }

  #open(own: OwnSegment, fileBytes: number, now: number): boolean {
    const bytes = this.#files.bytesOf(own.id)
    if (bytes === undefined) {
      // Its maker may be about to make it; after a while it is not.
      if (Math.abs(now - own.used) > MAKING_S) this.#onDamaged(own.id)
      return false
    }
    // It has its length before its first row. Cut since then, it would be made longer with zeros where rows point.
    if (bytes < fileBytes && own.bytes > 0) {
      this.#onDamaged(own.id)
      return false
    }
    this.#files.openSparse(own.id, fileBytes)
    return true
  }

  #next(ledger: Ledger, now: number): void {
    this.seal(ledger)
    this.#current = this.#adopt(ledger)
    if (this.#current !== undefined) return
    this.#current = { segment: this.#make(ledger, now), end: 0 }
  }

  #make(ledger: Ledger, now: number): number {
    const segment = ledger.newShared(now)
    try {
      this.#files.create(segment)
      return segment
    } catch (error) {
      ledger.dropSegment(segment)
      if (systemCode(error) !== 'EEXIST') throw error
    }
    // The database is older than the files, after a power cut or from a backup: ids begin again above them.
    ledger.raiseIds(Math.max(segment, ...this.#files.ids()))
    const next = ledger.newShared(now)
    this.#files.create(next)
    return next
  }

  /** Goes on where a process that has ended stopped: a thousand short lives leave few segments. Tried once for each database. */
  #adopt(ledger: Ledger): { segment: number; end: number } | undefined {
    if (!this.#mayAdopt) return undefined
    this.#mayAdopt = false
    const room = this.#segmentBytes - LIMITS.blockBytesMax
    const adopted = ledger.adopt(room)
    if (adopted === undefined) return undefined
    const { id: segment, bytes } = adopted
    try {
      // What lies behind the last row was written by the dead process and never named: left alone.
      const size = this.#files.size(segment)
      const end = alignUp(size)
      // Cut below its last row: what is appended there would be found under the keys of what was cut.
      if (size < bytes) this.#onDamaged(segment)
      else if (end <= room) return { segment, end }
    } catch (error) {
      if (systemCode(error) !== 'ENOENT') throw error
    }
    ledger.seal(segment)
    return undefined
  }

  /** Lets another process adopt the current segment, or eviction remove it. */
  seal(ledger: Ledger): void {
    if (this.#current !== undefined) ledger.seal(this.#current.segment)
    this.#current = undefined
  }

  /** The segment is gone: nothing more goes there. */
  abandon(segment: number): void {
    if (this.#current?.segment === segment) this.#current = undefined
    for (const [file, own] of this.#own) if (own === segment) this.#own.delete(file)
  }

  /** The database is another one now. */
  reset(): void {
    this.#current = undefined
    this.#own.clear()
    this.#mayAdopt = this.#adopts
  }
}
