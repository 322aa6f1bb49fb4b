import { closeSync, fstatSync, ftruncateSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { LIMITS } from '../base/index.ts'
import { mapFile, type Mapping } from '../system/index.ts'
import { type Words, wordsOver } from '../wire/index.ts'
import { POSTED_BYTES, PostedReads } from './posted-reads.ts'
import { cannotWrite } from './replace-file.ts'
import { prepareRuntimeDir } from './runtime-dir.ts'

/*
 * What a server has taken from the kernel and not answered yet, in a file beside the mount's record (`<id>.pending`) that
 * outlives it, for kernels that cannot repeat requests: Linux before 6.9. The next server answers what stands there. A reply
 * that was given twice is refused by the kernel with ENOENT, which harms nobody.
 *
 * The file, mapped shared by the session and the fetch thread: slots for reads on their way (posted-reads.ts), then the frame that
 * requests are read into, so that there is no moment in which a request is neither in the kernel nor here.
 */

const FRAME_AT = POSTED_BYTES
const FRAME_BYTES = LIMITS.readBytesMax + LIMITS.frameOverheadBytes
/** A request that is not of many parts is shorter: two names, or what a program asks by ioctl. */
const REQUEST_BYTES = 64 * 1024

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
  /** Reads on their way. */
  readonly reads: PostedReads
  readonly #mapping: Mapping

  /** Makes the file where it is not there. Throws FLIST_SYSTEM. */
  constructor(id: string) {
    const path = join(prepareRuntimeDir(), `${id}.pending`)
    makePlaces(path)
    this.#mapping = mapFile(path, FRAME_AT + FRAME_BYTES, true)
    this.reads = new PostedReads(this.#mapping.bytes)
    this.frame = wordsOver(this.#mapping.bytes, FRAME_AT, FRAME_BYTES)
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
