import {
  describeUsers,
  findUsers,
  isMountOf,
  listMounts,
  type MountListing,
  type MountUsers,
  readMounts,
} from '../kernel/index.ts'

export { describeUsers }

export interface ListedMount extends MountListing {
  /** Where nobody serves it: what stands on it. Readers among them wait, or get errors where it is dead. */
  readonly users?: MountUsers
}

/** All our mounts that this user may see, oldest first. */
export function list(): ListedMount[] {
  const mounts = readMounts()
  return listMounts(mounts).map((listing) => {
    if (listing.state !== 'dead' && listing.state !== 'orphaned') return listing
    const entry = mounts.find((mount) => isMountOf(mount, listing))
    return entry === undefined ? listing : { ...listing, users: findUsers(entry, listing.state === 'dead') }
  })
}
