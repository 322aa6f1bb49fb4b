import { describeError, systemCode } from './errors.ts'

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EDQUOT: 'the quota is used up',
  EEXIST: 'a part of the path is no folder',
  EIO: 'input or output failed',
  EISDIR: 'it is a folder',
  ELOOP: 'its links lead in a circle',
  ENAMETOOLONG: 'the path is too long',
  ENOENT: 'no such file or folder',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of the path is no folder',
  ENXIO: 'nobody reads this pipe',
  EPERM: 'permission denied',
  EROFS: 'the disk is read-only',
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'it broke the connection',
  ENOTFOUND: 'its host is unknown',
  EHOSTUNREACH: 'there is no way to its host',
  ENETUNREACH: 'there is no way to its network',
}

/** Why a call of Node's failed, for people: `the disk is full (ENOSPC)`. */
export function systemReason(error: unknown): string {
  const code = systemCode(error)
  // What is Node's own code, and not the system's, says less than the message: SQLite's words stand there.
  return code === '' || code.startsWith('ERR_') ? describeError(error) : codeReason(code)
}

/** The same of an error's code. */
export function codeReason(code: string): string {
  const reason = REASONS[code]
  return reason === undefined ? code : `${reason} (${code})`
}
