import { readFileSync } from 'node:fs'

/**
 * What the kernel calls this run of itself; '' where it does not say. Numbers of processes and their starts come again after the next
 * boot, and so do those of mounts: what names them on a disk names the boot too.
 */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  } catch {
    return ''
  }
}

/** Whether what was written down under that name is surely of another boot. A name that is not known is of this one. */
export function isOtherBoot(name: string | undefined): boolean {
  const now = bootId()
  return name !== undefined && name !== '' && now !== '' && name !== now
}
