import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { LIMITS } from '../base/index.ts'
import { mapFile, type Mapping } from '../system/index.ts'
import { type Words, wordsOver } from '../wire/index.ts'
import { cannotWrite } from './replace-file.ts'
import { prepareRuntimeDir } from './runtime-dir.ts'

/*
 * What a server has taken from the kernel and not answered yet, in a file beside the mount's record (`<id>.pending`) that
 * outlives it, for kernels that cannot repeat requests: Linux before 6.9. The next server answers what stands there. A reply
 * that was given twice is refused by the kernel with ENOENT, which harms nobody.
 *
 * The file, mapped shared by the session and the fetch thread: slots of 32 bytes for reads on their way, then the frame that
 * requests are read into, so that there is no moment in which a request is neither in the kernel nor here.
 */

/** Words of a slot: 1 where it is taken, unique lo and hi, row, offset lo and hi, bytes. */
const SLOT = { used: 0, lo: 1, hi: 2, row: 3, offsetLo: 4, offsetHi: 5, bytes: 6, words: 8 } as const
/** As many as the kernel has on their way at the most (max_background), and readers that wait themselves. */
const SLOTS = 8192
const FRAME_AT = SLOTS * SLOT.words * 4
const FRAME_BYTES = LIMITS.readBytesMax + LIMITS.frameOverheadBytes
/** A request that is not of many parts is shorter: two names, or what a program asks by ioctl. */
const REQUEST_BYTES = 64 * 1024
const TWO_32 = 2 ** 32

export interface PendingRead {
  readonly slot: number
  readonly lo: number
  readonly hi: number
  readonly row: number
  readonly offset: number
  readonly bytes: number
}

/** Whether this kernel repeats what was taken and not answered (FUSE_NOTIFY_RESEND, Linux 6.9). */
export function canResend(): boolean {
  // To try on a new kernel what an old one needs.
  if (process.env['FLISTFS_NO_RESEND'] === '1') return false
  // Not `os.release()`: a start loads no module for this.
  const release = readFileSync('/proc/sys/kernel/osrelease', 'latin1')
  const [major = 0, minor = 0] = release.split('.').map((part) => Number.parseInt(part, 10))
  return major > 6 || (major === 6 && minor >= 9)
}

export class PendingRequests {
  /** Where requests are read into. Its first word is the length of one that is being answered, else 0. */
  readonly frame: Words
  readonly #mapping: Mapping
  readonly #slots: Uint32Array
  #cursor = 0

  /** Makes the file where it is not there. Throws FLIST_SYSTEM. */
  constructor(id: string) {
    const path = join(prepareRuntimeDir(), `${id}.pending`)
    makePlaces(path)
    this.#mapping = mapFile(path, FRAME_AT + FRAME_BYTES, true)
    this.#slots = new Uint32Array(this.#mapping.bytes, 0, SLOTS * SLOT.words)
    this.frame = wordsOver(this.#mapping.bytes, FRAME_AT, FRAME_BYTES)
  }

  /** Notes a read that the fetch thread will answer. Gives its slot, or -1 where there is none: it is lost with this server. */
  keep(lo: number, hi: number, row: number, offset: number, bytes: number): number {
    const slots = this.#slots
    for (let tried = 0; tried < SLOTS; tried += 1) {
      const slot = this.#cursor
      this.#cursor = (slot + 1) % SLOTS
      const at = slot * SLOT.words
      if (slots[at] !== 0) continue
      slots[at + SLOT.lo] = lo
      slots[at + SLOT.hi] = hi
      slots[at + SLOT.row] = row
      slots[at + SLOT.offsetLo] = offset
      slots[at + SLOT.offsetHi] = offset / TWO_32
      slots[at + SLOT.bytes] = bytes
      // Last: what is half written is not believed, and stands in the frame still.
      Atomics.store(slots, at, 1)
      return slot
    }
    return -1
  }

  /** It was answered. */
  clear(slot: number): void {
    if (slot >= 0) Atomics.store(this.#slots, slot * SLOT.words, 0)
  }

  /** Reads that nobody has answered. */
  left(): PendingRead[] {
    const slots = this.#slots
    const found: PendingRead[] = []
    for (let slot = 0; slot < SLOTS; slot += 1) {
      const at = slot * SLOT.words
      if (slots[at] !== 1) continue
      const word = (which: number): number => slots[at + which] ?? 0
      const offset = word(SLOT.offsetLo) + word(SLOT.offsetHi) * TWO_32
      found.push({ slot, lo: word(SLOT.lo), hi: word(SLOT.hi), row: word(SLOT.row), offset, bytes: word(SLOT.bytes) })
    }
    return found
  }

  /** Nothing of it may be touched afterwards. The file goes with the mount's record. */
  close(): void {
    this.#mapping.close()
  }
}

/**
 * Its disk gives the room now: a page of the map that it had no room for later would end the server, and each one after it. The rest of
 * the frame is for what forgets many files at once, and may be lost.
 */
function makePlaces(path: string): void {
  let fd = -1
  try {
    fd = openSync(path, 'a', 0o600)
    const { size } = fstatSync(fd)
    if (size >= FRAME_AT + FRAME_BYTES) return
    const zeros = Buffer.alloc(Math.max(0, FRAME_AT + REQUEST_BYTES - size))
    if (writeSync(fd, zeros) < zeros.length) throw Object.assign(new Error('no room'), { code: 'ENOSPC' })
    ftruncateSync(fd, FRAME_AT + FRAME_BYTES)
  } catch (cause) {
    if (fd >= 0) rmSync(path, { force: true })
    throw cannotWrite(path, cause)
  } finally {
    if (fd >= 0) closeSync(fd)
  }
}
