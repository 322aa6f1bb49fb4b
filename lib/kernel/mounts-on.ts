import { type MountEntry, unescapeOctal } from './mount-info.ts'

/** A mount that stands on another. */
export interface MountOnTop {
  readonly directory: string
  /** `overlay`: a folder of it is a layer. `bind`: the same tree, or a part of it, elsewhere. `inside`: mounted on a folder of it. */
  readonly how: 'overlay' | 'bind' | 'inside'
  /** As the kernel names it: `tmpfs`. */
  readonly type: string
}

export interface Standing {
  readonly mounts: readonly MountOnTop[]
  /** Below these folders lies all that is in the mount, or on it. */
  readonly folders: readonly string[]
}

/**
 * What stands on a mount in a tree of mounts, and on that in turn. In the tree of another namespace the mount has another number: there
 * all of its device are meant.
 */
export function mountsOn(entry: MountEntry, mounts: readonly MountEntry[]): Standing {
  const itself = mounts.find(({ id }) => id === entry.id)
  const roots = itself === undefined ? mounts.filter((mount) => isSameDevice(mount, entry)) : [itself]
  const known = new Map(roots.map((mount) => [mount.id, mount]))
  const found: MountOnTop[] = []
  /** What is only mounted inside is no tree of ours: its copies elsewhere do not matter. */
  const trees = [...roots]
  for (let before = -1; before < known.size && known.size > 0;) {
    before = known.size
    for (const mount of mounts) {
      if (known.has(mount.id)) continue
      const how = howItStands(mount, known, trees)
      if (how === undefined) continue
      known.set(mount.id, mount)
      if (how !== 'inside') trees.push(mount)
      found.push({ directory: mount.directory, how, type: mount.type })
    }
  }
  return { mounts: found, folders: trees.map(({ directory }) => directory) }
}

function howItStands(
  mount: MountEntry,
  known: ReadonlyMap<number, MountEntry>,
  trees: readonly MountEntry[],
): MountOnTop['how'] | undefined {
  if (trees.some((tree) => isSameDevice(tree, mount))) return 'bind'
  const folders = trees.map(({ directory }) => directory)
  if (mount.type === 'overlay' && layersOf(mount).some((path) => liesIn(path, folders))) return 'overlay'
  return known.has(mount.parent) ? 'inside' : undefined
}

export function liesIn(path: string, folders: readonly string[]): boolean {
  return folders.some((folder) => path === folder || path.startsWith(folder === '/' ? folder : `${folder}/`))
}

function isSameDevice(one: MountEntry, other: MountEntry): boolean {
  return one.major === other.major && one.minor === other.minor
}

/** The folders that an overlay was made of, as whoever made it wrote them. */
function layersOf({ superOptions }: MountEntry): string[] {
  return superOptions.split(',').flatMap((option) => {
    const [, value] = /^(?:lowerdir\+?|datadir\+|upperdir|workdir)=(.*)$/.exec(option) ?? []
    // A colon of a name stands behind a backslash, as does a backslash.
    return (unescapeOctal(value ?? '').match(/(?:\\.|[^:\\])+/gs) ?? []).map((path) => path.replace(/\\(.)/gs, '$1'))
  })
}
