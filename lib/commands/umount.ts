import { unmount, type UnmountOptions, type UnmountResult } from '../kernel/index.ts'

export type { UnmountResult }

/** Takes a mount away and waits for its server. Throws FLIST_NOT_MOUNTED, FLIST_MOUNT_FAILED, FLIST_NOT_PERMITTED, FLIST_TIMEOUT. */
export function umount(directory: string, options: UnmountOptions, signal: AbortSignal): Promise<UnmountResult> {
  return unmount(directory, options, signal)
}
