import { displayBytes, FlistError } from '../../base/index.ts'
import { FILE_TYPE } from '../file-type.ts'
import type { FlistIndex } from '../index-file.ts'

/** As many as the kernel follows. */
const LINKS_MAX = 40
const SLASH = 0x2f

export interface FoundPath {
  /** The row the path ends at. */
  readonly row: number
  /** Its path in the archive, without links on the way. */
  readonly path: Buffer
}

/**
 * The row that a path names, as a process would find it whose root is the archive's: links that begin with a slash start
 * there, and `..` ends there. A link at the end is followed unless `followLast` is false. Throws FLIST_USAGE where there is no such path.
 */
export function findPath(index: FlistIndex, path: Buffer, followLast = true): FoundPath {
  let row = 0
  let links = 0
  /** The last link on the way, and where it leads. */
  let via: Link | undefined
  const left = split(path).toReversed()
  for (let name = left.pop(); name !== undefined; name = left.pop()) {
    if (typeOf(index, row) !== FILE_TYPE.directory) throw absent(path, via)
    if (name.equals(DOTS)) {
      row = index.parent[row] ?? 0
      continue
    }
    const found = index.find(row, name, 0, name.length)
    if (found < 0) throw absent(path, via)
    if (typeOf(index, found) !== FILE_TYPE.link || (left.length === 0 && !followLast)) {
      row = found
      continue
    }
    links += 1
    if (links > LINKS_MAX) throw new FlistError('FLIST_USAGE', `Cannot find "${displayBytes(path)}": too many links`)
    const at = index.first[found] ?? 0
    const target = index.names.subarray(at, at + (index.count[found] ?? 0))
    via = { path: Buffer.from(index.pathOf(found)), target }
    if (target[0] === SLASH) row = 0
    left.push(...split(target).toReversed())
  }
  return { row, path: Buffer.from(index.pathOf(row)) }
}

const DOTS = Buffer.from('..')

/** Names between slashes; `.` and nothing name no step. */
function split(path: Buffer): Buffer[] {
  const names: Buffer[] = []
  for (let from = 0; from <= path.length;) {
    const slash = path.indexOf(SLASH, from)
    const to = slash < 0 ? path.length : slash
    if (to > from && !(to === from + 1 && path[from] === 0x2e)) names.push(path.subarray(from, to))
    from = to + 1
  }
  return names
}

function typeOf(index: FlistIndex, row: number): number {
  return (index.mode[row] ?? 0) & FILE_TYPE.mask
}

interface Link {
  readonly path: Buffer
  readonly target: Uint8Array
}

/** The name itself may well be there. */
function absent(path: Buffer, via: Link | undefined): FlistError {
  const link = via === undefined ? '' : `: "${displayBytes(via.path)}" is a link to "${displayBytes(via.target)}"`
  return new FlistError('FLIST_USAGE', `Cannot find "${displayBytes(path)}" in the archive${link}`, {
    hint: 'See what is there with `flistfs ls ARCHIVE`; in a writable mount a file may be one of its changes',
  })
}
