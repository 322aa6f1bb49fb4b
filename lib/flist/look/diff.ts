import { FILE_TYPE, isDevice } from '../file-type.ts'
import type { FlistIndex } from '../index-file.ts'
import { rowStat } from './entry.ts'

/** What may differ between two entries of one name. */
export const DIFFERENCES = ['type', 'content', 'target', 'device', 'mode', 'owner', 'mtime', 'xattrs', 'links'] as const
export type Difference = (typeof DIFFERENCES)[number]

export interface Change {
  /** Its bytes, the root's is empty. */
  readonly path: Buffer
  readonly change: 'added' | 'removed' | 'changed'
  /** Of what is changed. */
  readonly differences: readonly Difference[]
  /** Rows in the two trees; -1 where it is not. */
  readonly before: number
  readonly after: number
}

export interface DiffOptions {
  readonly ignore: ReadonlySet<Difference>
  /** Whether two files of the same size have the same content, where their keys cannot tell: the archives are of two formats. */
  readonly sameContent: (before: number, after: number) => Promise<boolean>
}

/**
 * What is different in `b`, seen from `a`: depth first, in the order of names. All below a folder that is only on one side is named.
 * Inode numbers, change times and sizes of folders are not looked at: they tell of the making, not of the tree.
 */
export async function* diffIndexes(a: FlistIndex, b: FlistIndex, options: DiffOptions): AsyncGenerator<Change, void> {
  const groups = new LinkPartners(a, b)
  const root = await differencesOf(a, 0, b, 0, options, groups)
  if (root.length > 0) yield { path: Buffer.alloc(0), change: 'changed', differences: root, before: 0, after: 0 }
  const stack = [new Pairs(a, 0, b, 0, Buffer.alloc(0))]
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const pair = top.next()
    if (pair === undefined) {
      stack.pop()
      continue
    }
    const { path, before, after } = pair
    const differences = before < 0 || after < 0 ? [] : await differencesOf(a, before, b, after, options, groups)
    if (before < 0) yield { ...pair, change: 'added', differences }
    else if (after < 0) yield { ...pair, change: 'removed', differences }
    else if (differences.length > 0) yield { ...pair, change: 'changed', differences }
    if (isFolder(a, before) || isFolder(b, after)) stack.push(new Pairs(a, before, b, after, path))
  }
}

function isFolder(index: FlistIndex, row: number): boolean {
  return row >= 0 && ((index.mode[row] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.directory
}

const SLASH = Buffer.from('/')

/** The children of two folders side by side, one of which may be absent. */
class Pairs {
  readonly #a: FlistIndex
  readonly #b: FlistIndex
  readonly #path: Buffer
  #before: number
  #after: number
  readonly #beforeEnd: number
  readonly #afterEnd: number

  constructor(a: FlistIndex, before: number, b: FlistIndex, after: number, path: Buffer) {
    this.#a = a
    this.#b = b
    this.#path = path
    this.#before = isFolder(a, before) ? (a.first[before] ?? 0) : 0
    this.#beforeEnd = isFolder(a, before) ? this.#before + (a.count[before] ?? 0) : 0
    this.#after = isFolder(b, after) ? (b.first[after] ?? 0) : 0
    this.#afterEnd = isFolder(b, after) ? this.#after + (b.count[after] ?? 0) : 0
  }

  next(): { path: Buffer; before: number; after: number } | undefined {
    const hasBefore = this.#before < this.#beforeEnd
    const hasAfter = this.#after < this.#afterEnd
    if (!hasBefore && !hasAfter) return undefined
    const order = !hasBefore ? 1 : !hasAfter ? -1 : this.#compare()
    const before = order <= 0 ? this.#before++ : -1
    const after = order >= 0 ? this.#after++ : -1
    const name = before >= 0 ? this.#a.nameOf(before) : this.#b.nameOf(after)
    const path = this.#path.length === 0 ? Buffer.from(name) : Buffer.concat([this.#path, SLASH, name])
    return { path, before, after }
  }

  #compare(): number {
    return Buffer.compare(this.#a.nameOf(this.#before), this.#b.nameOf(this.#after))
  }
}

/** Hard links are the same where the same names stand for one inode: each leader of one side has one partner on the other. */
class LinkPartners {
  readonly #a: FlistIndex
  readonly #b: FlistIndex
  readonly #partners = new Map<number, number>()

  constructor(a: FlistIndex, b: FlistIndex) {
    this.#a = a
    this.#b = b
  }

  agree(before: number, after: number): boolean {
    const a = this.#a.leader[before] ?? before
    const b = this.#b.leader[after] ?? after
    if (this.#a.nlink[a] !== this.#b.nlink[b]) return false
    if (this.#a.nlink[a] === 1) return true
    const partner = this.#partners.get(a)
    if (partner === undefined) this.#partners.set(a, b)
    return partner === undefined || partner === b
  }
}

async function differencesOf(
  a: FlistIndex,
  before: number,
  b: FlistIndex,
  after: number,
  { ignore, sameContent }: DiffOptions,
  groups: LinkPartners,
): Promise<Difference[]> {
  const [x, y] = [rowStat(a, before), rowStat(b, after)]
  const found: Difference[] = []
  const note = (what: Difference, differs: boolean): void => {
    if (differs && !ignore.has(what)) found.push(what)
  }
  const type = x.mode & FILE_TYPE.mask
  if (type !== (y.mode & FILE_TYPE.mask)) note('type', true)
  else if (type === FILE_TYPE.file && !ignore.has('content')) {
    const leaders = [a.leader[before] ?? before, b.leader[after] ?? after] as const
    const same =
      x.size === y.size && (a.format === b.format ? sameKeys(a, b, ...leaders) : await sameContent(...leaders))
    note('content', !same)
  } else if (type === FILE_TYPE.link) note('target', x.target?.equals(y.target ?? Buffer.alloc(0)) !== true)
  else if (isDevice(type)) note('device', x.rdev !== y.rdev)
  note('mode', (x.mode & 0o7777) !== (y.mode & 0o7777))
  note('owner', x.uid !== y.uid || x.gid !== y.gid)
  note('mtime', x.mtime !== y.mtime || x.mtimeNs !== y.mtimeNs)
  note('xattrs', !sameXattrs(a, before, b, after))
  const isLinked = type === (y.mode & FILE_TYPE.mask) && type !== FILE_TYPE.directory
  note('links', isLinked && !groups.agree(before, after))
  return found
}

/** Blocks are cut at fixed places, so the same content has the same keys. */
function sameKeys(a: FlistIndex, b: FlistIndex, before: number, after: number): boolean {
  const count = a.count[before] ?? 0
  if (count !== b.count[after]) return false
  const bytes = a.hashBytes
  const [from, other] = [(a.first[before] ?? 0) * bytes, (b.first[after] ?? 0) * bytes]
  return a.keys.compare(b.keys, other, other + count * bytes, from, from + count * bytes) === 0
}

function sameXattrs(a: FlistIndex, before: number, b: FlistIndex, after: number): boolean {
  if (!a.hasXattrs && !b.hasXattrs) return true
  const [x, y] = [a.xattrs(before), b.xattrs(after)]
  return (
    x.length === y.length &&
    x.every(({ name, value }) => y.some((other) => other.name.equals(name) && other.value.equals(value)))
  )
}
