import { GETXATTR_IN, INIT_IN, INTERRUPT_IN, OPEN_IN, READ_IN, RELEASE_IN } from './layout.ts'

/** `enum fuse_opcode`, include/uapi/linux/fuse.h, 7.45. */
export const OPCODE = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  setxattr: 21,
  getxattr: 22,
  listxattr: 23,
  removexattr: 24,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  getlk: 31,
  setlk: 32,
  setlkw: 33,
  access: 34,
  create: 35,
  interrupt: 36,
  bmap: 37,
  destroy: 38,
  ioctl: 39,
  poll: 40,
  notifyReply: 41,
  batchForget: 42,
  fallocate: 43,
  readdirplus: 44,
  rename2: 45,
  lseek: 46,
  copyFileRange: 47,
  setupmapping: 48,
  removemapping: 49,
  syncfs: 50,
  tmpfile: 51,
  statx: 52,
} as const
export type OpcodeName = keyof typeof OPCODE

export interface OpcodeInfo {
  readonly name: string
  /** Bytes of the fixed part after the header: a shorter request is answered EINVAL. */
  readonly bodyBytes: number
  /** NUL-ended names that follow the fixed part. */
  readonly names: number
  readonly replies: boolean
  /** Changes the tree: EROFS. */
  readonly writes: boolean
}

function op(name: string, bodyBytes = 0, names = 0, rest: { replies?: boolean; writes?: boolean } = {}): OpcodeInfo {
  return { name, bodyBytes, names, replies: rest.replies ?? true, writes: rest.writes ?? false }
}

const WRITES = { writes: true } as const
const SILENT = { replies: false } as const

/** What each request is made of; the session, the printer and the tests read this one table. */
export const OPCODE_INFO = {
  [OPCODE.lookup]: op('LOOKUP', 0, 1),
  [OPCODE.forget]: op('FORGET', 8, 0, SILENT),
  [OPCODE.getattr]: op('GETATTR', 16),
  [OPCODE.setattr]: op('SETATTR', 88, 0, WRITES),
  [OPCODE.readlink]: op('READLINK'),
  [OPCODE.symlink]: op('SYMLINK', 0, 2, WRITES),
  [OPCODE.mknod]: op('MKNOD', 16, 1, WRITES),
  [OPCODE.mkdir]: op('MKDIR', 8, 1, WRITES),
  [OPCODE.unlink]: op('UNLINK', 0, 1, WRITES),
  [OPCODE.rmdir]: op('RMDIR', 0, 1, WRITES),
  [OPCODE.rename]: op('RENAME', 8, 2, WRITES),
  [OPCODE.link]: op('LINK', 8, 1, WRITES),
  [OPCODE.open]: op('OPEN', OPEN_IN.size),
  [OPCODE.read]: op('READ', READ_IN.size),
  [OPCODE.write]: op('WRITE', 40, 0, WRITES),
  [OPCODE.statfs]: op('STATFS'),
  [OPCODE.release]: op('RELEASE', RELEASE_IN.size),
  [OPCODE.fsync]: op('FSYNC', 16),
  [OPCODE.setxattr]: op('SETXATTR', 8, 1, WRITES),
  [OPCODE.getxattr]: op('GETXATTR', GETXATTR_IN.size, 1),
  [OPCODE.listxattr]: op('LISTXATTR', GETXATTR_IN.size),
  [OPCODE.removexattr]: op('REMOVEXATTR', 0, 1, WRITES),
  [OPCODE.flush]: op('FLUSH', 24),
  [OPCODE.init]: op('INIT', INIT_IN.sizeMin),
  [OPCODE.opendir]: op('OPENDIR', OPEN_IN.size),
  [OPCODE.readdir]: op('READDIR', READ_IN.size),
  [OPCODE.releasedir]: op('RELEASEDIR', RELEASE_IN.size),
  [OPCODE.fsyncdir]: op('FSYNCDIR', 16),
  [OPCODE.getlk]: op('GETLK', 48),
  [OPCODE.setlk]: op('SETLK', 48),
  [OPCODE.setlkw]: op('SETLKW', 48),
  [OPCODE.access]: op('ACCESS', 8),
  [OPCODE.create]: op('CREATE', 16, 1, WRITES),
  [OPCODE.interrupt]: op('INTERRUPT', INTERRUPT_IN.size, 0, SILENT),
  [OPCODE.bmap]: op('BMAP', 16),
  [OPCODE.destroy]: op('DESTROY'),
  [OPCODE.ioctl]: op('IOCTL', 32),
  [OPCODE.poll]: op('POLL', 24),
  [OPCODE.notifyReply]: op('NOTIFY_REPLY', 0, 0, SILENT),
  [OPCODE.batchForget]: op('BATCH_FORGET', 8, 0, SILENT),
  [OPCODE.fallocate]: op('FALLOCATE', 32, 0, WRITES),
  [OPCODE.readdirplus]: op('READDIRPLUS', READ_IN.size),
  [OPCODE.rename2]: op('RENAME2', 16, 2, WRITES),
  [OPCODE.lseek]: op('LSEEK', 24),
  [OPCODE.copyFileRange]: op('COPY_FILE_RANGE', 56, 0, WRITES),
  [OPCODE.setupmapping]: op('SETUPMAPPING', 40),
  [OPCODE.removemapping]: op('REMOVEMAPPING', 4),
  [OPCODE.syncfs]: op('SYNCFS', 8),
  [OPCODE.tmpfile]: op('TMPFILE', 16, 1, WRITES),
  [OPCODE.statx]: op('STATX', 24),
} as const satisfies Record<number, OpcodeInfo>

/** One more than the largest opcode: the length of a table by opcode. */
export const OPCODE_COUNT = 53

const INFO_BY_OPCODE: (OpcodeInfo | undefined)[] = Array.from({ length: OPCODE_COUNT })
for (const [opcode, info] of Object.entries(OPCODE_INFO)) INFO_BY_OPCODE[Number(opcode)] = info

export function opcodeInfo(opcode: number): OpcodeInfo | undefined {
  return INFO_BY_OPCODE[opcode]
}
