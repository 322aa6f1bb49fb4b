import { closeSync, constants, openSync, writeFileSync } from 'node:fs'
import { FlistError, LIMITS, systemCode } from '../base/index.ts'
import { mount, MS } from '../system/index.ts'

export interface MountWords {
  /** What /proc/mounts shows as the source. */
  readonly source: string
  readonly subtype: string
  readonly directory: string
  readonly suid: boolean
  readonly dev: boolean
  readonly allowOther: boolean
}

const DEVICE = '/dev/fuse'

/** Opens the FUSE device, not blocking: the session thread polls it. Throws FLIST_NOT_PERMITTED or FLIST_MOUNT_FAILED. */
export function openDevice(): number {
  try {
    return openSync(DEVICE, constants.O_RDWR | constants.O_NONBLOCK)
  } catch (cause) {
    const code = systemCode(cause)
    if (code === 'ENOENT' || code === 'ENODEV') {
      const hint = 'Load the module: `modprobe fuse`; in a container give it the device: `--device /dev/fuse`'
      throw new FlistError('FLIST_NOT_PERMITTED', `Cannot mount: "${DEVICE}" is not there`, { hint, cause })
    }
    const hint = 'Run flistfs as root'
    throw new FlistError('FLIST_NOT_PERMITTED', `Cannot mount: "${DEVICE}" cannot be opened (${code})`, { hint, cause })
  }
}

/** mount(2) of the device on a folder, read-only. Requests queue in the kernel until a session answers them. */
export function mountDevice(fd: number, words: MountWords): void {
  const options = [
    `fd=${fd}`,
    'rootmode=40000',
    'user_id=0',
    'group_id=0',
    'default_permissions',
    `max_read=${LIMITS.readBytesMax}`,
  ]
  if (words.allowOther) options.push('allow_other')
  const flags = MS.RDONLY | (words.suid ? 0 : MS.NOSUID) | (words.dev ? 0 : MS.NODEV)
  try {
    mount(words.source, words.directory, `fuse.${words.subtype}`, flags, options.join(','))
  } catch (error) {
    closeSync(fd)
    if (error instanceof FlistError && error.code === 'FLIST_NOT_PERMITTED') {
      throw new FlistError(error.code, error.message, { hint: 'Run flistfs as root', cause: error })
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
