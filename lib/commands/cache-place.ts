import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { systemCode } from '../base/index.ts'
import { readMounts } from '../kernel/index.ts'

/**
 * Types in mountinfo of file systems that several machines have at once: of the kernel and its modules, then behind `fuse.`. From
 * libmount's `mnt_fstype_is_netfs`, systemd's `fstype_is_network`, and what coreutils' stat(1) calls remote. Left out is what has one
 * machine as a rule: overlays, whatever is below; virtiofs, the root of many a virtual machine; fuse.ntfs-3g and its like.
 */
const NETWORK = new Set(
  '9p acfs afs beegfs ceph cifs coda davfs gfs gfs2 gpfs lustre ncpfs nfs nfs4 ocfs2 panfs pvfs2 smb3 smbfs vboxsf vmhgfs'.split(
    ' ',
  ),
)
const NETWORK_FUSE = new Set(
  'blobfuse blobfuse2 ceph ceph-fuse curlftpfs gcsfuse glusterfs goofys juicefs mfs rclone s3fs seaweedfs smbnetfs sshfs vmhgfs-fuse'.split(
    ' ',
  ),
)

/** True for the type of a file system, as mountinfo says it, that other machines may have too. */
export function isNetworkType(type: string): boolean {
  return type.startsWith('fuse.') ? NETWORK_FUSE.has(type.slice('fuse.'.length)) : NETWORK.has(type)
}

/**
 * What to say of a cache folder that other machines may use too; undefined where nothing is to be said. Its index is SQLite's log, which
 * is not safe there: https://sqlite.org/wal.html, "WAL does not work over a network filesystem".
 */
export function networkWarning(cacheDir: string): string | undefined {
  const type = typeAt(cacheDir)
  if (type === undefined || !isNetworkType(type)) return undefined
  return (
    `The cache "${cacheDir}" lies on a network file system (${type}), where its index may break when two machines use it: ` +
    'give each a local folder of its own with --cache or FLISTFS_CACHE'
  )
}

/** By its device: a name does not tell which of several mounts on top of each other is seen. */
function typeAt(path: string): string | undefined {
  try {
    // Not by a promise, which would start the threads of libuv where a mount begins.
    const { major, minor } = deviceNumbers(statSync(path, { bigint: true }).dev)
    return readMounts().find((mount) => mount.major === major && mount.minor === minor)?.type
  } catch (error) {
    // It is made where its parent lies. Whatever else is wrong with it is said by who uses it.
    return systemCode(error) === 'ENOENT' && path !== dirname(path) ? typeAt(dirname(path)) : undefined
  }
}

/** `gnu_dev_major` and `gnu_dev_minor` of glibc's sys/sysmacros.h. */
function deviceNumbers(dev: bigint): { major: number; minor: number } {
  return {
    major: Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n)),
    minor: Number((dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)),
  }
}
