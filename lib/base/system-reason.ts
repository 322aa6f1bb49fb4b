import { describeError, systemCode } from './errors.ts'

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EEXIST: 'a part of the path is no folder',
  EISDIR: 'it is a folder',
  ENOENT: 'no such file or folder',
  ENOSPC: 'the disk is full',
  ENOTDIR: 'a part of the path is no folder',
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
  const reason = REASONS[code]
  return reason === undefined ? code || describeError(error) : `${reason} (${code})`
}
