import { invariant } from '../base/index.ts'

/*
 * The structures of the Linux FUSE protocol, as byte offsets, little-endian. Source: include/uapi/linux/fuse.h,
 * protocol 7.45 (Linux 6.18). No number appears in a reader or writer that is not here.
 */

/** `struct fuse_in_header`. */
export const IN_HEADER = {
  size: 40,
  len: 0 /* u32, the whole request */,
  opcode: 4 /* u32 */,
  unique: 8 /* u64, echoed in the reply */,
  nodeid: 16 /* u64 */,
  uid: 24 /* u32 */,
  gid: 28 /* u32 */,
  pid: 32 /* u32 */,
  extlen: 36 /* u16, 8-byte units, then u16 padding */,
} as const

/** `struct fuse_out_header`. */
export const OUT_HEADER = {
  size: 16,
  len: 0 /* u32, the whole reply */,
  error: 4 /* i32, minus errno; a notification's code where unique is 0 */,
  unique: 8 /* u64 */,
} as const

/** `struct fuse_init_in`; kernels before 7.36 send the first 16 bytes only. */
export const INIT_IN = { size: 64, sizeMin: 16, major: 0, minor: 4, maxReadahead: 8, flags: 12, flags2: 16 } as const

/** `struct fuse_init_out`. */
export const INIT_OUT = {
  size: 64,
  major: 0,
  minor: 4,
  maxReadahead: 8 /* u32 bytes */,
  flags: 12,
  maxBackground: 16 /* u16 requests */,
  congestionThreshold: 18 /* u16 requests */,
  maxWrite: 20 /* u32 bytes */,
  timeGran: 24 /* u32 ns */,
  maxPages: 28 /* u16 */,
  mapAlignment: 30 /* u16 */,
  flags2: 32,
  maxStackDepth: 36,
  requestTimeout: 40 /* u16 s */,
} as const

/** `struct fuse_attr`. */
export const ATTR = {
  size: 88,
  ino: 0 /* u64 */,
  bytes: 8 /* u64 */,
  blocks: 16 /* u64, of 512 bytes */,
  atime: 24 /* i64 s */,
  mtime: 32 /* i64 s */,
  ctime: 40 /* i64 s */,
  atimeNs: 48,
  mtimeNs: 52,
  ctimeNs: 56,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  rdev: 76 /* u32, new_encode_dev */,
  blksize: 80,
  flags: 84,
} as const

/** `struct fuse_entry_out`; a node id of 0 is a cached absence. */
export const ENTRY_OUT = {
  size: 128,
  nodeid: 0 /* u64 */,
  generation: 8 /* u64 */,
  entryValid: 16 /* u64 s */,
  attrValid: 24 /* u64 s */,
  entryValidNs: 32,
  attrValidNs: 36,
  attr: 40,
} as const

/** `struct fuse_attr_out`. */
export const ATTR_OUT = { size: 104, attrValid: 0 /* u64 s */, attrValidNs: 8, dummy: 12, attr: 16 } as const

/** `struct fuse_dirent`, before its name; the whole is padded to 8 bytes. */
export const DIRENT = { size: 24, ino: 0 /* u64 */, off: 8 /* u64 */, namelen: 16, type: 20, align: 8 } as const

/** `struct fuse_direntplus`, before its name. */
export const DIRENTPLUS = { size: 152, entry: 0, dirent: 128 } as const

/** `struct fuse_read_in`, of READ, READDIR and READDIRPLUS. */
export const READ_IN = {
  size: 40,
  fh: 0 /* u64 */,
  offset: 8 /* u64 bytes; a cookie in a directory */,
  bytes: 16 /* u32 */,
  readFlags: 20,
  lockOwner: 24,
  flags: 32,
} as const

/** `struct fuse_getxattr_in`, of GETXATTR (then the name) and LISTXATTR. */
export const GETXATTR_IN = { size: 8, bytes: 0 /* u32; 0 asks how many it takes */ } as const

/** `struct fuse_getxattr_out`. */
export const GETXATTR_OUT = { size: 8, bytes: 0 } as const

/** `struct fuse_open_in`, of OPEN and OPENDIR. */
export const OPEN_IN = { size: 8, flags: 0, openFlags: 4 } as const

/** `struct fuse_open_out`. */
export const OPEN_OUT = { size: 16, fh: 0 /* u64 */, openFlags: 8, backingId: 12 /* i32 */ } as const

/** `struct fuse_release_in`, of RELEASE and RELEASEDIR. */
export const RELEASE_IN = { size: 24, fh: 0 /* u64 */, flags: 8, releaseFlags: 12, lockOwner: 16 } as const

/** `struct fuse_interrupt_in`. */
export const INTERRUPT_IN = { size: 8, unique: 0 /* u64, of the request to end */ } as const

/** `struct fuse_kstatfs`, the body of STATFS's reply. */
export const STATFS_OUT = {
  size: 80,
  blocks: 0 /* u64, of frsize */,
  bfree: 8,
  bavail: 16,
  files: 24,
  ffree: 32,
  bsize: 40 /* u32 bytes */,
  namelen: 44,
  frsize: 48,
} as const

/** `struct fuse_backing_map`, the argument of ioctl BACKING_OPEN. */
export const BACKING_MAP = { size: 16, fd: 0 /* i32 */, flags: 4, padding: 8 } as const

/** Flags of INIT, bits 0 to 31 in `flags`. */
export const INIT_FLAG = {
  asyncRead: 1 << 0,
  exportSupport: 1 << 4,
  autoInvalData: 1 << 12,
  doReaddirplus: 1 << 13,
  readdirplusAuto: 1 << 14,
  noOpenSupport: 1 << 17,
  parallelDirops: 1 << 18,
  posixAcl: 1 << 20,
  abortError: 1 << 21,
  maxPages: 1 << 22,
  cacheSymlinks: 1 << 23,
  noOpendirSupport: 1 << 24,
  initExt: 1 << 30,
} as const

/** Flags of INIT, bits 32 to 63, as they stand in `flags2`. */
export const INIT_FLAG2 = { passthrough: 1 << 5, hasResend: 1 << 7, allowIdmap: 1 << 8 } as const

/** Flags of OPEN's reply. */
export const FOPEN = { keepCache: 1 << 1, cacheDir: 1 << 3, passthrough: 1 << 7 } as const

/** Codes of notifications, in a reply's `error` where `unique` is 0. */
export const NOTIFY = { resend: 7 } as const

export const FUSE_MAJOR = 7
/** The newest minor this file describes. */
export const FUSE_MINOR = 45
/** The oldest minor we speak: Linux 5.15. */
export const FUSE_MINOR_MIN = 34

invariant(IN_HEADER.extlen + 4 === IN_HEADER.size, 'fuse_in_header ends with u16 and two bytes of padding')
invariant(ENTRY_OUT.attr + ATTR.size === ENTRY_OUT.size, 'fuse_entry_out ends with fuse_attr')
invariant(ATTR_OUT.attr + ATTR.size === ATTR_OUT.size, 'fuse_attr_out ends with fuse_attr')
invariant(ATTR.flags + 4 === ATTR.size, 'fuse_attr ends with flags')
invariant(DIRENTPLUS.dirent + DIRENT.size === DIRENTPLUS.size, 'fuse_direntplus ends with fuse_dirent')
invariant(READ_IN.flags + 8 === READ_IN.size, 'fuse_read_in ends with flags and padding')
