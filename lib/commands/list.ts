import {
  describeUsers,
  findUsersOfEach,
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
  const found = listMounts(mounts).map((listing) => {
    const isLost = listing.state === 'dead' || listing.state === 'orphaned'
    return { listing, entry: isLost ? mounts.find((mount) => isMountOf(mount, listing)) : undefined }
  })
  const lost = found.flatMap(({ entry }) => (entry === undefined ? [] : [entry]))
  const areDead = found.every(({ listing, entry }) => entry === undefined || listing.state === 'dead')
  const usersOf = findUsersOfEach(lost, areDead)
  return found.map(({ listing, entry }) => {
    const users = entry && usersOf.get(entry)
    return users === undefined ? listing : { ...listing, users }
  })
}
