import type { TreeBuilder } from '../flist/index.ts'
import type { Problems } from './problems.ts'

/** Where an entry goes in the tree. */
export interface Place {
  /** Entry of the folder; -1 for the root. */
  readonly parent: number
  readonly name: Buffer
  /** Path of the folder. */
  readonly folder: Buffer
}

const SLASH = Buffer.from('/')

export function pathOf({ folder, name }: Place): Buffer {
  return folder.length === 0 ? name : Buffer.concat([folder, SLASH, name])
}

export interface Attributes {
  /** With the type bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  readonly rdev: number
  readonly mtime: number
  readonly mtimeNs: number
  readonly ctime: number
  readonly ctimeNs: number
}

interface Group {
  entry: number
  attributes: Attributes | undefined
  errno: number
  readonly waiting: Place[]
}

/** Names of one inode: those after the first become links to its entry, once that is there. */
export class LinkGroups {
  readonly #tree: TreeBuilder
  readonly #problems: Problems
  readonly #groups = new Map<string, Group>()

  constructor(tree: TreeBuilder, problems: Problems) {
    this.#tree = tree
    this.#problems = problems
  }

  /** False for the first name of an inode, which is then the caller's to add. */
  join(key: string, place: Place): boolean {
    const group = this.#groups.get(key)
    if (group === undefined) {
      this.#groups.set(key, { entry: -1, attributes: undefined, errno: 0, waiting: [] })
      return false
    }
    if (group.errno !== 0) this.#problems.failed(pathOf(place), group.errno)
    else if (group.attributes === undefined) group.waiting.push(place)
    else this.#link(place, group.entry, group.attributes)
    return true
  }

  /** The first name is in the tree. */
  found(key: string, entry: number, attributes: Attributes): void {
    const group = this.#groups.get(key)
    if (group === undefined) return
    group.entry = entry
    group.attributes = attributes
    for (const place of group.waiting.splice(0)) this.#link(place, entry, attributes)
  }

  /** The first name cannot be added, so none can. */
  lost(key: string, errno: number): void {
    const group = this.#groups.get(key)
    if (group === undefined) return
    group.errno = errno
    for (const place of group.waiting.splice(0)) this.#problems.failed(pathOf(place), errno)
  }

  #link({ parent, name }: Place, leader: number, its: Attributes): void {
    const { mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs } = its
    const entry = this.#tree.add(name, mode, uid, gid, size, rdev, mtime, mtimeNs, ctime, ctimeNs)
    this.#tree.setParent(entry, parent)
    this.#tree.setLink(entry, leader)
  }
}
