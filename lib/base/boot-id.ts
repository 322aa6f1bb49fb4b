import { textOf } from './peek.ts'

/**
 * What the kernel calls this run of itself; '' where it does not say. Numbers of processes and their starts come again after the next
 * boot, and so do those of mounts: what names them on a disk names the boot too.
 */
export function bootId(): string {
  return textOf('/proc/sys/kernel/random/boot_id').trim()
}

/** Whether what was written down under that name is surely of another boot. A name that is not known is of this one. */
export function isOtherBoot(name: string | undefined): boolean {
  const now = bootId()
  return name !== undefined && name !== '' && now !== '' && name !== now
}
