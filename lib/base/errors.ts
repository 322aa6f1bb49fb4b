import { ERRNO } from './errno.ts'

/**
 * Every error an operator can meet: its errno towards the kernel and its exit code on the command line.
 * A code without both does not compile; `docs/errors.md` has a paragraph for each (guarded by `test/house.test.ts`).
 * ENOENT is never here: it is said only of names that are not in an archive.
 */
export const ERROR_TABLE = {
  /** The caller's words are wrong: unknown option, bad URL, bad range. */
  FLIST_USAGE: { errno: ERRNO.EINVAL, exit: 2 },
  /** The file or address named holds nothing we know as an flist, or is not there. */
  FLIST_NOT_FOUND: { errno: ERRNO.EIO, exit: 10 },
  /** The file is there but is neither fl nor v1. */
  FLIST_FORMAT_UNKNOWN: { errno: ERRNO.EIO, exit: 12 },
  /** The archive breaks a rule of its format. */
  FLIST_ARCHIVE_DAMAGED: { errno: ERRNO.EIO, exit: 12 },
  /** The archive exceeds a limit of `limits.ts`. */
  FLIST_LIMIT: { errno: ERRNO.EIO, exit: 12 },
  /** The archive's bytes do not match the digest asked for. */
  FLIST_DIGEST_MISMATCH: { errno: ERRNO.EIO, exit: 12 },
  /** A policy does not allow the archive. */
  FLIST_NOT_TRUSTED: { errno: ERRNO.EPERM, exit: 1 },
  /** A container image breaks a rule of its format, or a layer of it reaches where it must not. */
  FLIST_IMAGE_DAMAGED: { errno: ERRNO.EIO, exit: 12 },
  /** A file lacks blocks it needs: an archive damaged by its writer (v1 float rounding), or short blocks. */
  FLIST_FILE_TRUNCATED: { errno: ERRNO.EIO, exit: 12 },
  /** A block's bytes do not match its id or key, in every store asked. */
  FLIST_BLOCK_CORRUPT: { errno: ERRNO.EIO, exit: 12 },
  /** No store that was reached has the block. */
  FLIST_BLOCK_MISSING: { errno: ERRNO.EIO, exit: 12 },
  /** No store covers the block's id. */
  FLIST_BLOCK_NOT_ROUTED: { errno: ERRNO.EIO, exit: 2 },
  /** A store did not answer, or not in time. */
  FLIST_STORE_UNREACHABLE: { errno: ERRNO.EIO, exit: 11 },
  /** A store refused our credentials. */
  FLIST_STORE_DENIED: { errno: ERRNO.EIO, exit: 11 },
  /** A store answered something its protocol does not allow. */
  FLIST_STORE_PROTOCOL: { errno: ERRNO.EIO, exit: 11 },
  /** The cache folder cannot be used. */
  FLIST_CACHE_UNUSABLE: { errno: ERRNO.EIO, exit: 1 },
  /** The index file is damaged or of another layout (it is rebuilt; this is seen only where that fails). */
  FLIST_INDEX_DAMAGED: { errno: ERRNO.EIO, exit: 12 },
  /** mount(2), umount2(2) or /dev/fuse refused. */
  FLIST_MOUNT_FAILED: { errno: ERRNO.EIO, exit: 1 },
  /** The folder named is not one of our mounts. */
  FLIST_NOT_MOUNTED: { errno: ERRNO.EINVAL, exit: 1 },
  /** What is asked for needs a right or a device that this process does not have. */
  FLIST_NOT_PERMITTED: { errno: ERRNO.EPERM, exit: 1 },
  /** A system call failed that should not. */
  FLIST_SYSTEM: { errno: ERRNO.EIO, exit: 1 },
  /** A deadline passed. */
  FLIST_TIMEOUT: { errno: ERRNO.EIO, exit: 11 },
  /** The reader or the user gave up. */
  FLIST_INTERRUPTED: { errno: ERRNO.EINTR, exit: 130 },
} as const satisfies Record<string, { errno: number; exit: number }>

export type FlistErrorCode = keyof typeof ERROR_TABLE

export function isErrorCode(code: string): code is FlistErrorCode {
  return Object.hasOwn(ERROR_TABLE, code)
}

export interface FlistErrorOptions {
  /** An order the reader can follow now. */
  hint?: string
  cause?: unknown
}

/** The one error class for the operator. `message` starts with "Cannot" and names the thing; `hint` says what to do. */
export class FlistError extends Error {
  override readonly name = 'FlistError'
  readonly code: FlistErrorCode
  readonly hint: string | undefined

  constructor(code: FlistErrorCode, message: string, options: FlistErrorOptions = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {})
    this.code = code
    this.hint = options.hint
  }

  get errno(): number {
    return ERROR_TABLE[this.code].errno
  }

  get exitCode(): number {
    return ERROR_TABLE[this.code].exit
  }

  toJSON(): { code: FlistErrorCode; message: string; hint: string | undefined } {
    return { code: this.code, message: this.message, hint: this.hint }
  }
}

/** A fault of ours. Never caught on purpose. */
export class BugError extends Error {
  override readonly name = 'BugError'
}

export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new BugError(`Broken invariant: ${message}`)
}

/** The text of anything thrown, for a log line. */
export function describeError(error: unknown): string {
  if (error instanceof FlistError) return `${error.code}: ${error.message}`
  return error instanceof Error ? error.message : String(error)
}

/** Node's error code (`ENOSPC`, `ECONNREFUSED`) of anything thrown, or ''. */
export function systemCode(error: unknown): string {
  if (!(error instanceof Error) || !('code' in error)) return ''
  return typeof error.code === 'string' ? error.code : ''
}
