import koffi from 'koffi'
import { constants } from 'node:fs'
import { errnoName, invariant } from '../base/index.ts'
import { late } from './late.ts'

/**
 * Foreign calls on files and folders: relative to an open folder, with names as bytes, without an object for each call
 * (x86-64 and arm64 Linux). A name is bytes with a NUL at its end. What fails returns `-errno`.
 */
const cStatx = late('int statx(int dir, const uint8_t *path, int flags, uint32_t mask, _Out_ uint8_t *into)')
const cOpenat = late('int openat(int dir, const uint8_t *path, int flags, uint32_t mode)')
const cOpenat2 = late('long syscall(long number, int dir, const uint8_t *path, const uint8_t *how, size_t size)')
const cFadvise = late('int posix_fadvise(int fd, long offset, long bytes, int advice)')
const cClose = late('int close(int fd)')
const cRenameat = late('int renameat(int from, const uint8_t *path, int to, const uint8_t *name)')
const cMkdirat = late('int mkdirat(int dir, const uint8_t *path, uint32_t mode)')
const cUnlinkat = late('int unlinkat(int dir, const uint8_t *path, int flags)')
/** `getdents64` is not in every C library, the system call is. */
const cSyscall = late('long syscall(long number, int fd, _Out_ uint8_t *into, size_t size)')
const cReadlinkat = late('long readlinkat(int dir, const uint8_t *path, _Out_ uint8_t *into, size_t size)')
const cLseek = late('long lseek(int fd, long offset, int whence)')
const cSyncfs = late('int syncfs(int fd)')
const cFlock = late('int flock(int fd, int operation)')
const cFlistxattr = late('long flistxattr(int fd, uint8_t *into, size_t size)')
const cListxattr = late('long listxattr(const uint8_t *path, _Out_ uint8_t *into, size_t size)')
const cLlistxattr = late('long llistxattr(const uint8_t *path, _Out_ uint8_t *into, size_t size)')
const cGetxattr = late('long getxattr(const uint8_t *path, const uint8_t *name, _Out_ uint8_t *into, size_t size)')
const cLgetxattr = late('long lgetxattr(const uint8_t *path, const uint8_t *name, _Out_ uint8_t *into, size_t size)')

/** `struct statx` of `include/uapi/linux/stat.h`, bytes. */
const STATX = {
  size: 256,
  nlink: 16 /* u32 */,
  uid: 20 /* u32 */,
  gid: 24 /* u32 */,
  mode: 28 /* u16 */,
  ino: 32 /* u64 */,
  bytes: 40 /* u64 */,
  blocks: 48 /* u64, of 512 bytes */,
  ctime: 96 /* i64 seconds, u32 nanoseconds */,
  mtime: 112 /* i64 seconds, u32 nanoseconds */,
  deviceMajor: 128 /* u32, of a device */,
  deviceMinor: 132 /* u32 */,
  systemMajor: 136 /* u32, of the file system */,
  systemMinor: 140 /* u32 */,
} as const

const AT_FDCWD = -100
const SYS_GETDENTS64 = process.arch === 'arm64' ? 61 : 217
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_REMOVEDIR = 0x200
const AT_EMPTY_PATH = 0x1000
const STATX_BASIC = 0x7ff
const NOTHING = Buffer.from([0])

/** Bytes of a `FileStat.stamp`. */
export const STAMP_BYTES = 40

/** Tells one file of the system from all others, while it is there. */
export interface FileIdentity {
  readonly system: number
  readonly ino: bigint
}

/** What statx(2) said last: read it before the next call. */
export class FileStat {
  readonly #raw = Buffer.alloc(STATX.size)

  /** statx(2) of a name in an open folder; of the folder itself where the name is empty. 0 or `-errno`. */
  at(dir: number, name: Buffer, follow = false): number {
    const flags = (follow ? 0 : AT_SYMLINK_NOFOLLOW) | (name.length <= 1 ? AT_EMPTY_PATH : 0)
    return cStatx(dir, name, flags, STATX_BASIC, this.#raw) === 0 ? 0 : -koffi.errno()
  }

  /** statx(2) of an open file. 0 or `-errno`. */
  of(fd: number): number {
    return this.at(fd, NOTHING)
  }

  get mode(): number {
    return this.#raw.readUInt16LE(STATX.mode)
  }

  get nlink(): number {
    return this.#raw.readUInt32LE(STATX.nlink)
  }

  get uid(): number {
    return this.#raw.readUInt32LE(STATX.uid)
  }

  get gid(): number {
    return this.#raw.readUInt32LE(STATX.gid)
  }

  /** Bytes; above 2^53 it is not exact, and no file is so large. */
  get size(): number {
    return this.#raw.readUInt32LE(STATX.bytes) + this.#raw.readUInt32LE(STATX.bytes + 4) * 2 ** 32
  }

  /** Bytes on the disk. */
  get allocated(): number {
    return 512 * (this.#raw.readUInt32LE(STATX.blocks) + this.#raw.readUInt32LE(STATX.blocks + 4) * 2 ** 32)
  }

  get mtime(): number {
    return this.#seconds(STATX.mtime)
  }

  get mtimeNs(): number {
    return this.#raw.readUInt32LE(STATX.mtime + 8)
  }

  get ctime(): number {
    return this.#seconds(STATX.ctime)
  }

  get ctimeNs(): number {
    return this.#raw.readUInt32LE(STATX.ctime + 8)
  }

  /** As the kernel encodes it: 12 bits of major number, 20 of minor. */
  get rdev(): number {
    const major = this.#raw.readUInt32LE(STATX.deviceMajor)
    const minor = this.#raw.readUInt32LE(STATX.deviceMinor)
    return ((minor & 0xff) | (major << 8) | ((minor & ~0xff) << 12)) >>> 0
  }

  /** The file system it lies on. */
  get system(): number {
    return this.#raw.readUInt32LE(STATX.systemMajor) * 2 ** 20 + this.#raw.readUInt32LE(STATX.systemMinor)
  }

  /** Tells files of one file system apart. */
  get ino(): bigint {
    return this.#raw.readBigUInt64LE(STATX.ino)
  }

  is({ system, ino }: FileIdentity): boolean {
    return this.system === system && this.ino === ino
  }

  /** The file and its state: inode number, size and times. What changes the content changes these. */
  stamp(into: Buffer, at: number): void {
    this.#raw.copy(into, at, STATX.ino, STATX.ino + 16)
    this.#raw.copy(into, at + 16, STATX.ctime, STATX.ctime + 12)
    this.#raw.copy(into, at + 28, STATX.mtime, STATX.mtime + 12)
  }

  #seconds(at: number): number {
    return this.#raw.readUInt32LE(at) + this.#raw.readInt32LE(at + 4) * 2 ** 32
  }
}

invariant(STATX.ino + 8 === STATX.bytes, 'the inode number and the size lie side by side')

/** A name, or a path, as the calls here take it. */
export function zeroEnded(name: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(name.length + 1)
  bytes.set(name)
  bytes[name.length] = 0
  return bytes
}

/** openat(2), close-on-exec; the flags are those of node:fs. A descriptor, or `-errno`. */
export function openAt(dir: number, path: Buffer, flags: number, mode = 0): number {
  const fd: number = cOpenat(dir, path, flags | O_CLOEXEC, mode)
  return fd < 0 ? -koffi.errno() : fd
}

const O_CLOEXEC = 0x8_0000

/** openat(2) of a path from the working folder. */
export function openPath(path: Uint8Array, flags: number): number {
  return openAt(AT_FDCWD, zeroEnded(path), flags)
}

/** The same number on x86-64 and arm64. */
const SYS_OPENAT2 = 437
/** `struct open_how` of `include/uapi/linux/openat2.h`, bytes. */
const OPEN_HOW = { size: 24, flags: 0 /* u64 */, resolve: 16 /* u64 */ } as const
/** RESOLVE_NO_XDEV, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH. */
const RESOLVE_HERE = 0x1 | 0x4 | 0x8
let here: Buffer | undefined

/**
 * openat2(2), for reading: a path below an open folder, on its file system, through no link. A descriptor, or `-errno`: EXDEV where
 * something is mounted in between, ENOSYS before Linux 5.6.
 */
export function openHere(dir: number, path: Buffer): number {
  if (here === undefined) {
    here = Buffer.alloc(OPEN_HOW.size)
    here.writeUInt32LE(OPEN_FILE | O_CLOEXEC, OPEN_HOW.flags)
    here.writeUInt32LE(RESOLVE_HERE, OPEN_HOW.resolve)
  }
  const fd: number = cOpenat2(SYS_OPENAT2, dir, path, here, OPEN_HOW.size)
  return fd < 0 ? -koffi.errno() : fd
}

const FADV_WILLNEED = 3

/** posix_fadvise(2): these bytes of an open file are read soon; 0: all behind the offset. The disk begins with it, nobody waits. */
export function readSoon(fd: number, offset = 0, bytes = 0): void {
  cFadvise(fd, offset, bytes, FADV_WILLNEED)
}

/** What opens a folder for walking. */
export const OPEN_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW
/** What opens a file that somebody else may have put in place of another: a link is not followed, a FIFO is not waited for. */
export const OPEN_FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK

/** close(2). */
export function closeFd(fd: number): void {
  cClose(fd)
}

/** renameat(2) in one folder. 0 or `-errno`. */
export function renameAt(dir: number, from: Buffer, to: Buffer): number {
  return cRenameat(dir, from, dir, to) === 0 ? 0 : -koffi.errno()
}

/** mkdirat(2). 0 or `-errno`. */
export function mkdirAt(dir: number, path: Buffer, mode: number): number {
  return cMkdirat(dir, path, mode) === 0 ? 0 : -koffi.errno()
}

/** unlinkat(2), of a folder where asked. 0 or `-errno`. */
export function unlinkAt(dir: number, path: Buffer, isFolder = false): number {
  return cUnlinkat(dir, path, isFolder ? AT_REMOVEDIR : 0) === 0 ? 0 : -koffi.errno()
}

/** Of x86-64 and arm64; `struct linux_dirent64`: u64 inode, i64 offset, u16 length of the record, u8 type, name with a NUL. */
const DIRENT = { length: 16, name: 19 } as const
const DIRENTS_BYTES = 256 * 1024
let dirents: Buffer | undefined

/** getdents64(2): all names in an open folder but "." and "..", each with a NUL at its end, in its file system's order. An errno where it fails. */
export function namesIn(fd: number): Buffer[] | number {
  const names: Buffer[] = []
  dirents ??= Buffer.allocUnsafeSlow(DIRENTS_BYTES)
  for (;;) {
    const bytes: number = cSyscall(SYS_GETDENTS64, fd, dirents, DIRENTS_BYTES)
    if (bytes < 0) return koffi.errno()
    if (bytes === 0) return names
    // The names are kept, the records are not.
    const records = Buffer.from(dirents.subarray(0, bytes))
    for (let at = 0; at < bytes; at += records.readUInt16LE(at + DIRENT.length)) {
      const from = at + DIRENT.name
      const name = records.subarray(from, records.indexOf(0, from) + 1)
      const isDots = name[0] === 0x2e && (name.length === 2 || (name.length === 3 && name[1] === 0x2e))
      if (!isDots) names.push(name)
    }
  }
}

/** readlinkat(2): the bytes of the target in `into`, or `-errno`. */
export function readlinkAt(dir: number, path: Buffer, into: Buffer): number {
  const bytes: number = cReadlinkat(dir, path, into, into.length)
  return bytes < 0 ? -koffi.errno() : bytes
}

const SEEK_DATA = 3
const SEEK_HOLE = 4

/** lseek(2): where data begins at or after `offset`, or `-errno` (ENXIO where there is none any more). */
export function seekData(fd: number, offset: number): number {
  const at: number = cLseek(fd, offset, SEEK_DATA)
  return at < 0 ? -koffi.errno() : at
}

/** lseek(2): where a hole begins at or after `offset`, the end of the file at the latest, or `-errno`. */
export function seekHole(fd: number, offset: number): number {
  const at: number = cLseek(fd, offset, SEEK_HOLE)
  return at < 0 ? -koffi.errno() : at
}

/** syncfs(2): everything written to the file system of this descriptor is on the disk. 0 or `-errno`. */
export function syncFs(fd: number): number {
  return cSyncfs(fd) === 0 ? 0 : -koffi.errno()
}

/** `LOCK_EX | LOCK_NB`, asm-generic/fcntl.h. */
const LOCK_AT_ONCE = 6

/** flock(2): locks an open file for its descriptor alone, at once or not at all. 0 or `-errno`: EAGAIN where it is another's. */
export function lockWhole(fd: number): number {
  return cFlock(fd, LOCK_AT_ONCE) === 0 ? 0 : -koffi.errno()
}

/** flistxattr(2): whether an open file has extended attributes; true where that is not known. */
export function hasXattrs(fd: number): boolean {
  const bytes: number = cFlistxattr(fd, null, 0)
  return bytes > 0 || (bytes < 0 && errnoName(koffi.errno()) !== 'EOPNOTSUPP')
}

/** listxattr(2), or llistxattr(2): bytes of the names, each with a NUL, in `into`; or `-errno`. */
export function listXattrs(path: Buffer, into: Buffer, follow = false): number {
  const call = follow ? cListxattr : cLlistxattr
  const bytes: number = call(path, into, into.length)
  return bytes < 0 ? -koffi.errno() : bytes
}

/** getxattr(2), or lgetxattr(2): bytes of the value in `into`; or `-errno`. */
export function getXattr(path: Buffer, name: Buffer, into: Buffer, follow = false): number {
  const call = follow ? cGetxattr : cLgetxattr
  const bytes: number = call(path, name, into, into.length)
  return bytes < 0 ? -koffi.errno() : bytes
}
