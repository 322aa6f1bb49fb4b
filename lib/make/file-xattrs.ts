import { errnoName, LIMITS } from '../base/index.ts'
import { getXattr, listXattrs } from '../system/index.ts'

export interface Xattr {
  readonly name: Buffer
  readonly value: Buffer
}

/** Labels that the running system gives; they mean nothing on another one. */
const LABELS = /^security\.(?:selinux|SMACK64.*|apparmor|ima|evm)$/
/** The kernel's namespaces that archives carry, xattr(7). */
const CARRIED = /^(?:user|trusted|security)\.|^system\.posix_acl_(?:access|default)$/s
const NONE: readonly never[] = []
const names = Buffer.allocUnsafeSlow(LIMITS.xattrListBytesMax)
const value = Buffer.allocUnsafeSlow(LIMITS.xattrValueBytesMax)

/**
 * The extended attributes of a file, ACLs and capabilities among them. `path` ends with a NUL. An errno where they cannot be read;
 * what vanished meanwhile is not there.
 */
export function readXattrs(path: Buffer, follow: boolean): readonly Xattr[] | number {
  const listed = xattrNames(path, follow)
  if (typeof listed === 'number') return listed
  const found: Xattr[] = []
  for (const name of listed) {
    const length = getXattr(path, name, value, follow)
    if (length >= 0) found.push({ name: name.subarray(0, -1), value: Buffer.from(value.subarray(0, length)) })
    else if (!isGone(-length)) return -length
  }
  return found
}

/** Names of those that archives carry, each with a NUL at its end; or an errno. */
export function xattrNames(path: Buffer, follow: boolean): readonly Buffer[] | number {
  const bytes = listXattrs(path, names, follow)
  if (bytes === 0) return NONE
  if (bytes < 0) return isUnsupported(-bytes) ? NONE : -bytes
  const found: Buffer[] = []
  for (let at = 0; at < bytes;) {
    const end = names.indexOf(0, at)
    const text = names.toString('latin1', at, end)
    if (CARRIED.test(text) && !LABELS.test(text)) found.push(Buffer.from(names.subarray(at, end + 1)))
    at = end + 1
  }
  return found
}

function isUnsupported(errno: number): boolean {
  const code = errnoName(errno)
  return code === 'EOPNOTSUPP' || code === 'ENOTSUP' || code === 'ENOSYS'
}

function isGone(errno: number): boolean {
  const code = errnoName(errno)
  // EPERM: trusted attributes are listed for root alone, but a container's root may not read them all.
  return code === 'ENODATA' || code === 'EOPNOTSUPP' || code === 'EPERM'
}
