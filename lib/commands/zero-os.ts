import { FlistError } from '../base/index.ts'
import { ownHolder, readMounts, supervisor, topMount } from '../kernel/index.ts'

/*
 * In the place of Zero-OS's mounters. It learns from the list of mounts alone whose a mount is: the type is fuse.g8ufs for both
 * formats, and the source is the number of the process whose command line names the archive.
 */

/** What a mount shows in the list of mounts. The holder lives as long as the mount; where there is none, this process does. */
export function zeroOsNames(): { readonly source: string; readonly subtype: string } {
  return { source: String(ownHolder()?.pid ?? supervisor() ?? process.pid), subtype: 'g8ufs' }
}

/** Mounters of Zero-OS never mount over a mount. Throws FLIST_MOUNT_FAILED. */
export function refuseMounted(directory: string): void {
  if (topMount(readMounts(), directory) === undefined) return
  throw new FlistError('FLIST_MOUNT_FAILED', `Cannot mount on "${directory}": something is mounted there`, {
    hint: `Unmount it first: umount ${directory}`,
  })
}
