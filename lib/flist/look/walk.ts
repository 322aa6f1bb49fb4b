import { invariant, LIMITS } from '../../base/index.ts'
import { FILE_TYPE } from '../file-type.ts'
import type { FlistIndex } from '../index-file.ts'

/** Where a walk is. One object for the whole walk: what is kept must be copied. */
export interface Step {
  row: number
  /** 0: where the walk began. */
  depth: number
  /** A view of the walk's own buffer. */
  path: Buffer
  /** Set it, and the folder's children are left out. */
  prune: boolean
}

const SLASH = 0x2f
/** Bytes of the longest path: names of 255 bytes, each with its slash, and what the caller put in front. */
const PATH_BYTES_MAX = (LIMITS.treeDepthMax + 2) * 256 + 4096

/**
 * A tree from `start` on, depth first: a folder before its children, children in the order of their names' bytes. Paths
 * begin with `prefix`; children are joined to it by a slash unless it is empty or ends with one. Allocates nothing an entry but a view.
 */
export function* walk(index: FlistIndex, start: number, prefix: Buffer): Generator<Step, void> {
  const bytes = Buffer.allocUnsafe(PATH_BYTES_MAX)
  invariant(prefix.length <= 4096, 'a prefix is a path')
  prefix.copy(bytes)
  const step: Step = { row: start, depth: 0, path: bytes.subarray(0, prefix.length), prune: false }
  yield step
  if (step.prune || !isFolder(index, start)) return
  // Three numbers a level: the next child, the end of the children, the length of the folder's path with its slash.
  const { first, count, names, nameAt } = index
  const levels: number[] = []
  const enter = (row: number, length: number): void => {
    const bare = length === 0 || bytes[length - 1] === SLASH
    if (!bare) bytes[length] = SLASH
    const at = first[row] ?? 0
    levels.push(at, at + (count[row] ?? 0), bare ? length : length + 1)
  }
  enter(start, prefix.length)
  while (levels.length > 0) {
    const top = levels.length - 3
    const row = levels[top] ?? 0
    if (row >= (levels[top + 1] ?? 0)) {
      levels.length = top
      continue
    }
    levels[top] = row + 1
    const from = levels[top + 2] ?? 0
    const end = from + names.copy(bytes, from, nameAt[row] ?? 0, nameAt[row + 1] ?? 0)
    step.row = row
    step.depth = levels.length / 3
    step.path = bytes.subarray(0, end)
    step.prune = false
    yield step
    if (!step.prune && isFolder(index, row) && step.depth <= LIMITS.treeDepthMax) enter(row, end)
  }
}

function isFolder(index: FlistIndex, row: number): boolean {
  return ((index.mode[row] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.directory
}
