import { FlistError } from '../base/index.ts'
import { readMounts, topMount } from '../kernel/index.ts'

/*
 * In the place of Zero-OS's mounters. It learns from the list of mounts alone whose a mount is: the type is fuse.g8ufs for both
 * formats, and the source is the number of the process whose command line names the archive.
 */

/** What a mount shows in the list of mounts. */
export function zeroOsNames(): { readonly source: string; readonly subtype: string } {
  return { source: String(keeper()), subtype: 'g8ufs' }
}

/** The process that lives as long as the mount: bin/supervise where it started us, else this one. */
function keeper(): number {
  const supervisor = Number(process.env['FLISTFS_SUPERVISOR'] ?? '')
  return supervisor > 1 && supervisor === process.ppid ? supervisor : process.pid
}

/** Mounters of Zero-OS never mount over a mount. Throws FLIST_MOUNT_FAILED. */
export function refuseMounted(directory: string): void {
  if (topMount(readMounts(), directory) === undefined) return
  throw new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${directory}": something is mounted there`, {
    hint: `Unmount it first: umount ${directory}`,
  })
}
