import { closeSync, constants, fstatSync, lstatSync, openSync, readSync, stat, statfs } from 'node:fs'

/*
 * Small files of a folder on this machine's own disk, read without libuv: 16 us instead of 50 to 70, but the thread waits
 * meanwhile, so never on a file system that may ask somebody else (docs/decisions/091).
 */

/** `f_type` of file systems that lie on a disk or in memory here; linux/magic.h. An overlay is not: who knows what is below. */
export const LOCAL_TYPES = new Set([
  0xef53 /* ext2, ext3, ext4 */, 0x58465342 /* xfs */, 0x9123683e /* btrfs */, 0x01021994 /* tmpfs */,
  0x858458f6 /* ramfs */, 0xf2f52010 /* f2fs */, 0x2fc12fc1 /* zfs */, 0xca451a4e /* bcachefs */,
  0x73717368 /* squashfs */, 0xe0f5e1e2 /* erofs */,
])
// A symbolic link may lead to another file system.
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW
/** A larger block is worth the call to another thread, which also takes the copying. */
const SMALL_BYTES_MAX = 64 * 1024
/**
 * Files that took longer, one after the other, come from the disk, and several disk reads at a time are faster than one. A single
 * one tells nothing: on a busy machine another thread ran meanwhile.
 */
const SLOW_MS = 1
const SLOW_IN_ROW = 4
const PAUSE_MS = 50

export class LocalFolder {
  readonly #root: string
  /** The device of the folder; -1 while it is not known to be local. */
  #device = -1
  #asked = false
  /** Subfolders that were seen to lie on the same device. */
  readonly #seen = new Set<string>()
  #pauseUntil = 0
  #slow = 0

  constructor(root: string) {
    this.#root = root
  }

  /** A file of that subfolder was opened by another way. */
  note(folder: string, device: number): void {
    if (device === this.#device) this.#seen.add(folder)
    else if (!this.#asked) this.#ask()
  }

  /** A small regular file's bytes. Undefined where they are to be read by another way, which also says what is wrong. */
  read(folder: string, name: string): Buffer | undefined {
    if (this.#device < 0 || !this.#seen.has(folder)) return undefined
    const began = performance.now()
    if (began < this.#pauseUntil) return undefined
    try {
      return this.#read(`${this.#root}/${folder}/${name}`)
    } catch {
      return undefined
    } finally {
      this.#took(began)
    }
  }

  /** True where a regular file with bytes is there. False says nothing: it is to be asked for by another way. */
  holds(folder: string, name: string): boolean {
    if (this.#device < 0 || !this.#seen.has(folder)) return false
    const began = performance.now()
    if (began < this.#pauseUntil) return false
    try {
      const about = lstatSync(`${this.#root}/${folder}/${name}`, { throwIfNoEntry: false })
      return about !== undefined && about.dev === this.#device && about.isFile() && about.size > 0
    } catch {
      return false
    } finally {
      this.#took(began)
    }
  }

  #took(began: number): void {
    const ended = performance.now()
    this.#slow = ended - began > SLOW_MS ? this.#slow + 1 : 0
    if (this.#slow >= SLOW_IN_ROW) this.#pauseUntil = ended + PAUSE_MS
  }

  #read(path: string): Buffer | undefined {
    const fd = openSync(path, OPEN_FLAGS)
    try {
      const about = fstatSync(fd)
      if (about.dev !== this.#device) {
        // Something was mounted here meanwhile.
        this.#device = -1
        return undefined
      }
      if (!about.isFile() || about.size < 1 || about.size > SMALL_BYTES_MAX) return undefined
      const bytes = Buffer.allocUnsafeSlow(about.size)
      return readSync(fd, bytes, 0, bytes.length, 0) === bytes.length ? bytes : undefined
    } finally {
      closeSync(fd)
    }
  }

  #ask(): void {
    this.#asked = true
    statfs(this.#root, (error, disk) => {
      if (error !== null || !LOCAL_TYPES.has(disk.type)) return
      stat(this.#root, (failure, about) => {
        if (failure === null) this.#device = about.dev
      })
    })
  }
}
