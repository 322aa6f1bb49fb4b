import { constants, openSync, writeFileSync } from 'node:fs'
import { FlistError, LIMITS, systemCode } from '../base/index.ts'
import { adopt, KnownIds, mayMount, mount, mountFlags, MS, write } from '../system/index.ts'
import { NOTIFY, OUT_HEADER } from '../wire/index.ts'
import { mountAsUser } from './device-user.ts'
import { processNamed, type ProcessName } from './processes.ts'

export interface MountWords {
  /** What /proc/mounts shows as the source. */
  readonly source: string
  readonly subtype: string
  readonly directory: string
  readonly suid: boolean
  readonly dev: boolean
  readonly allowOther: boolean
  readonly noexec: boolean
  readonly nosymfollow: boolean
  /** The kernel checks owners and modes; else whoever mounted reads all, and nobody else comes in. */
  readonly checked: boolean
}

const DEVICE = '/dev/fuse'

/**
 * Opens the FUSE device, or takes the one that the supervisor holds, so that the mount outlives this process. Not blocking:
 * the session thread polls it. Throws FLIST_NOT_PERMITTED or FLIST_MOUNT_FAILED.
 */
export function openDevice(): number {
  const held = heldDevice()
  if (held !== undefined) {
    adopt(held)
    return held
  }
  try {
    return openSync(DEVICE, constants.O_RDWR | constants.O_NONBLOCK)
  } catch (cause) {
    const code = systemCode(cause)
    if (code === 'ENOENT' || code === 'ENODEV') {
      const hint = 'Load the module: `modprobe fuse`; in a container give it the device: `--device /dev/fuse`'
      throw new FlistError('FLIST_NOT_PERMITTED', `Cannot mount: "${DEVICE}" is not there`, { hint, cause })
    }
    const hint =
      'Let root say: chmod 666 /dev/fuse (most systems have it so: who mounts needs more), or run flistfs as root'
    throw new FlistError('FLIST_NOT_PERMITTED', `Cannot mount: "${DEVICE}" cannot be opened (${code})`, { hint, cause })
  }
}

/** The descriptor that bin/supervise opened for us. */
export function heldDevice(): number | undefined {
  const held = process.env['FLISTFS_DEVICE']
  return held === undefined || supervisor() === undefined ? undefined : Number(held)
}

/** The supervisor (bin/supervise) that started this process; undefined where there is none. */
export function supervisor(): number | undefined {
  const pid = Number(process.env['FLISTFS_SUPERVISOR'] ?? '')
  return pid > 1 && pid === process.ppid ? pid : undefined
}

/** The same, as it is known to others. */
export function supervisorName(): ProcessName | undefined {
  const pid = supervisor()
  return pid === undefined ? undefined : processNamed(pid)
}

/** Asks the kernel to repeat every request that was taken but not answered (Linux 6.9, after HAS_RESEND). */
export function requestResend(fd: number): boolean {
  const notice = Buffer.alloc(OUT_HEADER.size)
  notice.writeUInt32LE(OUT_HEADER.size, OUT_HEADER.len)
  notice.writeInt32LE(NOTIFY.resend, OUT_HEADER.error)
  return write(fd, notice, notice.length) === notice.length
}

/**
 * Whether the kernel checks owners and modes of an archive with these owners (pairs uid, gid). In a mount that is his alone
 * a user reads all he packed. In a user namespace not even its root may read what belongs to an id without a name there.
 */
export function wantsChecks(owners: Uint32Array, allowOther: boolean): boolean {
  if (allowOther) return true
  if (!mayMount()) return false
  const ids = new KnownIds()
  if (ids.all) return true
  for (let at = 0; at < owners.length; at += 2) if (!ids.has(owners[at] ?? 0, owners[at + 1] ?? 0)) return false
  return true
}

/**
 * Mounts the device on a folder, read-only: by mount(2), or by fusermount3 for whom that is not. Requests queue in the
 * kernel until a session answers them. The device stays its server's, which closes it. Throws FLIST_NOT_PERMITTED or
 * FLIST_MOUNT_FAILED.
 */
export function mountDevice(fd: number, words: MountWords): void {
  if (mayMount()) mountDirectly(fd, words)
  else mountAsUser(fd, words)
}

function mountDirectly(fd: number, words: MountWords): void {
  const options = [
    `fd=${fd}`,
    'rootmode=40000',
    `user_id=${process.geteuid?.() ?? 0}`,
    `group_id=${process.getegid?.() ?? 0}`,
    `max_read=${LIMITS.readBytesMax}`,
  ]
  if (words.checked) options.push('default_permissions')
  if (words.allowOther) options.push('allow_other')
  try {
    mount(words.source, words.directory, `fuse.${words.subtype}`, MS.RDONLY | mountFlags(words), options.join(','))
  } catch (error) {
    if (error instanceof FlistError && error.code === 'FLIST_NOT_PERMITTED') {
      // Root of a user namespace, in the tree of mounts of another.
      const hint = 'Run flistfs as root, or in a mount namespace of its own: unshare -Urm'
      throw new FlistError(error.code, error.message, { hint, cause: error })
    }
    throw error
  }
}

/**
 * The kernel caps readahead at 128 KiB a mount: two blocks in one request need 1 MiB. Where /sys does not let us, the
 * mount is only slower. `minor` is that of the mount's device number.
 */
export function raiseReadahead(minor: number): void {
  try {
    writeFileSync(`/sys/class/bdi/0:${minor}/read_ahead_kb`, String(LIMITS.readBytesMax / 1024))
  } catch {
    // Not root, or a /sys that is read-only.
  }
}
