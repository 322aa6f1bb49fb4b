import { listMounts, type MountListing } from '../kernel/index.ts'

export type ListedMount = MountListing

/** All our mounts that this user may see, oldest first. */
export function list(): ListedMount[] {
  return listMounts()
}
