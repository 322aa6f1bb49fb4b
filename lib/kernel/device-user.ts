import { execFile, spawnSync } from 'node:child_process'
import { closeSync } from 'node:fs'
import { promisify } from 'node:util'
import { ERRNO, FlistError, LIMITS, systemCode } from '../base/index.ts'
import {
  errno,
  failed,
  FUSE_IOCTL,
  ioctl,
  MNT,
  mayMount,
  receiveDescriptor,
  socketPair,
  umountAsync,
} from '../system/index.ts'
import type { MountWords } from './device.ts'

/** The setuid program of the package fuse3, by which users mount. */
const PROGRAM = 'fusermount3'
/** Milliseconds it may take. */
const PROGRAM_MS = 10_000
const HINT_PROGRAM = `Install ${PROGRAM} (Debian, Ubuntu, Fedora: package fuse3), run flistfs as root, or in a user namespace: unshare -Urm`

/**
 * Mounts as a user without root: fusermount3 opens a device of its own, mounts, and sends that. `fd` becomes a second
 * handle of the same connection, so that the mount has the life of whoever else holds `fd` (the supervisor). Throws
 * FLIST_NOT_PERMITTED or FLIST_MOUNT_FAILED.
 */
export function mountAsUser(fd: number, words: MountWords): void {
  refuseForUsers(words)
  const [ours, theirs] = socketPair()
  let device: number | undefined
  try {
    runMounter(theirs, words)
    device = receiveDescriptor(ours)
  } finally {
    closeSync(ours)
    closeSync(theirs)
  }
  if (device === undefined) {
    throw new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${words.directory}": ${PROGRAM} sent no device`)
  }
  try {
    const source = Buffer.alloc(4)
    source.writeInt32LE(device, 0)
    if (ioctl(fd, FUSE_IOCTL.clone, source) !== 0) {
      throw failed('FLIST_MOUNT_FAILED', `take over the mount on "${words.directory}" from ${PROGRAM}`, errno())
    }
  } finally {
    // Where it was not taken over, the connection ends with this.
    closeSync(device)
  }
}

/** What only root may honour, and fusermount3 leaves out without a word. Throws FLIST_NOT_PERMITTED. */
export function refuseForUsers(words: MountWords): void {
  const { suid, dev, nosymfollow, directory } = words
  if (!(suid || dev || nosymfollow) || mayMount()) return
  const option = suid ? '--suid' : dev ? '--dev' : '--nosymfollow'
  const hint =
    suid || dev
      ? `Leave ${option} out: setuid files and devices are seen, and do nothing`
      : `Leave ${option} out, or be root in a user namespace (unshare -Urm): ${PROGRAM} does not know it`
  throw new FlistError('FLIST_NOT_PERMITTED', `Cannot mount on "${directory}" with ${option}: only root may`, { hint })
}

/** A writable mount is an overlay, which fusermount3 does not mount. Throws FLIST_NOT_PERMITTED. */
export function requireOverlay(directory: string): void {
  if (mayMount()) return
  throw new FlistError(
    'FLIST_NOT_PERMITTED',
    `Cannot mount on "${directory}" writable: only root may mount an overlay`,
    {
      hint: 'In a user namespace you are root: `unshare -Urm`, and there the same words again',
    },
  )
}

function runMounter(socket: number, words: MountWords): void {
  const { status, stderr, error } = spawnSync(PROGRAM, ['-o', optionsOf(words), '--', words.directory], {
    stdio: ['ignore', 'ignore', 'pipe', socket],
    env: { ...process.env, _FUSE_COMMFD: '3' },
    timeout: PROGRAM_MS,
    encoding: 'utf8',
  })
  if (error !== undefined) {
    const [reason, hint] = whyNotRun(systemCode(error))
    throw new FlistError('FLIST_NOT_PERMITTED', `Cannot mount on "${words.directory}": ${reason}`, {
      hint,
      cause: error,
    })
  }
  if (status === 0) return
  const said = stderr.trim().split('\n').at(-1)?.replace(`${PROGRAM}: `, '') ?? ''
  const message = `Cannot mount on "${words.directory}": ${PROGRAM} says: ${said === '' ? `exit code ${status}` : said}`
  const hint = hintFor(said, words.directory)
  throw new FlistError('FLIST_NOT_PERMITTED', message, { hint })
}

function whyNotRun(code: string | undefined): [reason: string, hint: string] {
  if (code === 'ENOENT') return [`neither root nor ${PROGRAM} is here`, HINT_PROGRAM]
  if (code === 'ETIMEDOUT') return [`${PROGRAM} did not end in ${PROGRAM_MS / 1000} s`, 'Run flistfs as root']
  return [
    `you may not run ${PROGRAM} (${code})`,
    'Let root add you to the group it belongs to, run flistfs as root, or in a user namespace: unshare -Urm',
  ]
}

function hintFor(said: string, directory: string): string {
  if (said.includes('user_allow_other')) {
    return 'Leave --allow-other out, or let root write a line "user_allow_other" into /etc/fuse.conf'
  }
  if (said.includes('no write access') || said.includes('not owner')) {
    return `A user mounts on folders of his own only: mkdir ~/mnt, or let root say: chown $USER ${directory}`
  }
  // As root, which fusermount3 is, it may not look at another user's mount.
  if (said.includes('failed to access mountpoint')) {
    return `See whether something is mounted there already (findmnt ${directory}), and whether you may enter all folders above`
  }
  if (said.includes('username')) return 'The user needs a line in /etc/passwd: fusermount3 asks for his name'
  if (said.includes('mount_max')) return 'Unmount another, or let root raise mount_max in /etc/fuse.conf'
  if (said.includes('Operation not permitted')) {
    return `${PROGRAM} must be setuid root (chmod u+s), and a container needs --cap-add SYS_ADMIN or a user namespace`
  }
  return HINT_PROGRAM
}

/** Device, owner and root mode it adds itself; `nosuid,nodev` too. A comma and a backslash of a name are escaped. */
function optionsOf(words: MountWords): string {
  const source = words.source.replaceAll('\\', String.raw`\\`).replaceAll(',', String.raw`\,`)
  const options = ['ro', `subtype=${words.subtype}`, `fsname=${source}`, `max_read=${LIMITS.readBytesMax}`]
  if (words.noexec) options.push('noexec')
  if (words.checked) options.push('default_permissions')
  if (words.allowOther) options.push('allow_other')
  return options.join(',')
}

/**
 * umount2(2) beside the thread that serves the mount; what root did not mount is taken away by fusermount3. Returns 0 or
 * the errno.
 */
export async function takeAway(directory: string, flags: number): Promise<number> {
  const number = await umountAsync(directory, flags)
  if (number !== ERRNO.EPERM) return number
  const lazy = (flags & MNT.DETACH) === 0 ? [] : ['-z']
  try {
    await promisify(execFile)(PROGRAM, ['-u', ...lazy, '--', directory], { timeout: PROGRAM_MS })
    return 0
  } catch (error) {
    const said: unknown = Reflect.get(Object(error), 'stderr')
    return typeof said === 'string' && said.includes('busy') ? ERRNO.EBUSY : ERRNO.EPERM
  }
}
