import koffi from 'koffi'
import { late } from './late.ts'

/**
 * Foreign calls that make entries and set their attributes, relative to an open folder and never through a link (x86-64 and arm64
 * Linux). A name is bytes with a NUL at its end. Each returns 0, or `-errno`.
 */
const cSymlinkat = late('int symlinkat(const uint8_t *target, int dir, const uint8_t *path)')
const cLinkat = late('int linkat(int from, const uint8_t *path, int dir, const uint8_t *name, int flags)')
const cMknodat = late('int mknodat(int dir, const uint8_t *path, uint32_t mode, uint64_t device)')
const cFchownat = late('int fchownat(int dir, const uint8_t *path, uint32_t uid, uint32_t gid, int flags)')
const cUtimensat = late('int utimensat(int dir, const uint8_t *path, const uint8_t *times, int flags)')
const cLsetxattr = late(
  'int lsetxattr(const uint8_t *path, const uint8_t *name, const uint8_t *value, size_t size, int flags)',
)
const cFsetxattr = late('int fsetxattr(int fd, const uint8_t *name, const uint8_t *value, size_t size, int flags)')
const cFremovexattr = late('int fremovexattr(int fd, const uint8_t *name)')
const cFutimens = late('int futimens(int fd, const uint8_t *times)')

const AT_SYMLINK_NOFOLLOW = 0x100
/** `tv_nsec` of a time that is left as it is, `linux/stat.h`. */
const UTIME_OMIT = 0x3ffffffe

const done = (result: number): number => (result === 0 ? 0 : -koffi.errno())

export function symlinkAt(target: Buffer, dir: number, name: Buffer): number {
  return done(cSymlinkat(target, dir, name) as number)
}

/** linkat(2); a link is linked itself. */
export function linkAt(from: number, path: Buffer, dir: number, name: Buffer): number {
  return done(cLinkat(from, path, dir, name, 0) as number)
}

/** mknodat(2). `rdev` is as the kernel encodes it in 32 bits, which is how the C library's 64 begin. */
export function mknodAt(dir: number, name: Buffer, mode: number, rdev: number): number {
  return done(cMknodat(dir, name, mode, rdev) as number)
}

export function chownAt(dir: number, name: Buffer, uid: number, gid: number): number {
  return done(cFchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) as number)
}

const times = Buffer.alloc(32)

function putTime(seconds: number, ns: number): Buffer {
  times.fill(0)
  times.writeBigInt64LE(BigInt(UTIME_OMIT), 8)
  times.writeBigInt64LE(BigInt(seconds), 16)
  times.writeBigInt64LE(BigInt(ns), 24)
  return times
}

/** utimensat(2): the modification time, in seconds and nanoseconds; the access time stays. */
export function setTimeAt(dir: number, name: Buffer, seconds: number, ns: number): number {
  return done(cUtimensat(dir, name, putTime(seconds, ns), AT_SYMLINK_NOFOLLOW) as number)
}

/** The same of an open file or folder. */
export function setTime(fd: number, seconds: number, ns: number): number {
  return done(cFutimens(fd, putTime(seconds, ns)) as number)
}

/** fsetxattr(2). */
export function setXattrOf(fd: number, name: Buffer, value: Buffer): number {
  return done(cFsetxattr(fd, name, value, value.length, 0) as number)
}

/** fremovexattr(2). */
export function removeXattrOf(fd: number, name: Buffer): number {
  return done(cFremovexattr(fd, name) as number)
}

/** lsetxattr(2) of an entry in an open folder: there is no such call that takes a folder. */
export function setXattrAt(dir: number, entry: Buffer, name: Buffer, value: Buffer): number {
  const path = Buffer.concat([Buffer.from(`/proc/self/fd/${dir}/`), entry])
  return done(cLsetxattr(path, name, value, value.length, 0) as number)
}
