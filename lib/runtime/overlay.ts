import { chmodSync, chownSync, existsSync, mkdirSync, rmdirSync, statSync } from 'node:fs'
import { release } from 'node:os'
import { errnoName, FlistError } from '../base/index.ts'
import { KnownIds, MNT, mountAsync, mountFlags, setTimes, setXattr, umountAsync } from '../system/index.ts'

/** The root's attributes: an overlay shows those of its upper folder. */
export interface RootAttributes {
  /** 12 bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: number
  readonly mtimeNs: number
  /** ACLs among them. */
  readonly xattrs: readonly { readonly name: Buffer; readonly value: Buffer }[]
}

export interface OverlayWords {
  /** What the list of mounts shows: mount(8) knows by it that a line of fstab is mounted already. */
  readonly source: string
  /** Where the read-only tree is mounted. */
  readonly lower: string
  /** Holds `upper` and `work`; made if absent, kept. */
  readonly changes: string
  readonly directory: string
  readonly root: RootAttributes
  readonly suid: boolean
  readonly dev: boolean
  readonly noexec: boolean
  readonly nosymfollow: boolean
}

/**
 * `index=on` and `xino=on` keep inode numbers and hard links at copy-up and remount. For that an overlay finds the file below
 * by its handle, and from Linux 6.16 on a FUSE dentry made from a handle is never valid (its d_time stays below the
 * connection's epoch, fs/fuse/dir.c): a file changed at an earlier mount then gave ESTALE. Without these features no handle
 * is used. See docs/decisions/070-overlay-features.md.
 */
function features(): readonly string[] {
  if (handlesWork(release())) return ['index=on', 'xino=on']
  return ['index=off', 'nfs_export=off', 'xino=off', 'metacopy=off', 'redirect_dir=off']
}

/** A user namespace may not write the `trusted.` attributes of an overlay, so it keeps its notes as `user.` ones. */
const USER_FEATURES = ['userxattr', 'index=off', 'nfs_export=off', 'xino=off']

function handlesWork(kernel: string): boolean {
  const [major = 0, minor = 0] = kernel.split('.').map((part) => Number.parseInt(part, 10))
  return major < 6 || (major === 6 && minor < 16)
}

/**
 * Mounts the kernel's overlayfs on `directory`: reads from `lower`, changes into `changes`, which is claimed. Throws FLIST_MOUNT_FAILED or FLIST_NOT_PERMITTED. Runs beside the thread that
 * serves `lower`, which the kernel looks at meanwhile.
 */
export async function mountOverlay(words: OverlayWords): Promise<void> {
  const upper = `${words.changes}/upper`
  const work = `${words.changes}/work`
  prepareUpper(upper, work, words)
  const data = [
    `lowerdir=${escapeOption(words.lower).replaceAll(':', String.raw`\:`)}`,
    `upperdir=${escapeOption(upper)}`,
    `workdir=${escapeOption(work)}`,
    ...(new KnownIds().all ? features() : USER_FEATURES),
  ].join(',')
  const errno = await mountAsync(words.source, words.directory, 'overlay', mountFlags(words), data)
  if (errno === 0) return
  const name = errnoName(errno)
  if (name === 'ESTALE') {
    throw new FlistError(
      'FLIST_MOUNT_FAILED',
      `Cannot mount "${words.directory}": "${words.changes}" holds changes to another archive`,
      {
        hint: 'Name another folder with --upper, or the archive that these changes belong to',
      },
    )
  }
  const code = name === 'EPERM' ? 'FLIST_NOT_PERMITTED' : 'FLIST_MOUNT_FAILED'
  throw new FlistError(code, `Cannot mount an overlay on "${words.directory}": ${name}`, {
    hint: `"${words.changes}" must lie on a disk of this machine (ext4, xfs, btrfs, tmpfs), not on an overlay; \`dmesg\` says more`,
  })
}

function prepareUpper(upper: string, work: string, { root, changes }: OverlayWords): void {
  try {
    mkdirSync(work, { recursive: true })
    if (existsSync(upper) && statSync(upper).isDirectory()) return
    mkdirSync(upper)
    const ids = new KnownIds()
    // A user namespace gives nothing to ids that it has no name for, and may not write most attributes.
    if (ids.has(root.uid, root.gid)) chownSync(upper, root.uid, root.gid)
    chmodSync(upper, root.mode)
    for (const { name, value } of root.xattrs) {
      if (ids.all || name.toString('latin1').startsWith('user.')) setXattr(upper, name.toString('latin1'), value)
    }
    setTimes(upper, root.mtimeSeconds, root.mtimeNs)
  } catch (cause) {
    throw new FlistError('FLIST_MOUNT_FAILED', `Cannot keep changes in "${changes}"`, {
      hint: 'Name a folder that can be written with --upper',
      cause,
    })
  }
}

/** Commas end an option and backslashes escape: a path may hold both. */
function escapeOption(path: string): string {
  return path.replaceAll('\\', '\\\\').replaceAll(',', String.raw`\,`)
}

/**
 * Takes the lower mount out of the tree: the overlay keeps it alive, and with the overlay it ends. So a plain umount(8) of
 * the overlay takes both away.
 */
export async function hideLower(lower: string): Promise<void> {
  await umountAsync(lower, MNT.DETACH)
  rmdirSync(lower)
}
