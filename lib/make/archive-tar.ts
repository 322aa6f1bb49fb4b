import { displayBytes } from '../base/index.ts'
import { FILE_TYPE, type FlistIndex, majorOf, minorOf, rowStat, type RowStat, walk } from '../flist/index.ts'
import {
  type SparseRange,
  TAR_END,
  tarDataBytes,
  type TarEntry,
  tarHeader,
  tarPadding,
  type TarType,
} from '../oci/index.ts'

export interface ArchiveTarOptions {
  /** The bytes of a file, by the row that stands for its inode; of a sparse one, those of its ranges. */
  readonly content: (row: number) => AsyncIterable<Buffer>
  /** Asked before a file's header is written: false leaves the name out. */
  readonly admit?: ((row: number, path: Buffer) => Promise<boolean>) | undefined
  /** The ranges of a sparse file that are not zeros. */
  readonly sparse?: ((row: number) => readonly SparseRange[] | undefined) | undefined
  /** For a layer of an image: names that would hide others there are left out. */
  readonly isLayer: boolean
  /** A file below the root to leave out. */
  readonly without?: string | undefined
  /** Why a name is not in the tar. */
  readonly onLeftOut: (path: string, why: string) => void
  readonly onEntry?: (() => void) | undefined
}

const TAR_TYPES: Readonly<Record<number, TarType>> = {
  [FILE_TYPE.file]: 'file',
  [FILE_TYPE.link]: 'symlink',
  [FILE_TYPE.character]: 'character',
  [FILE_TYPE.block]: 'block',
  [FILE_TYPE.directory]: 'directory',
  [FILE_TYPE.fifo]: 'fifo',
}
const WHITEOUT = Buffer.from('.wh.')
const NOTHING = Buffer.alloc(0)
const ROOT = Buffer.from('./')
const SLASH = Buffer.from('/')

/** An archive's tree as a tar: depth first, names in the order of their bytes. Depends on the tree alone. */
export async function* archiveTar(
  index: FlistIndex,
  options: ArchiveTarOptions,
): AsyncGenerator<Buffer, void, undefined> {
  const { content, admit, sparse, isLayer, without, onLeftOut, onEntry } = options
  /** Of an inode with several names: the first one. */
  const named = new Map<number, Buffer>()
  for (const step of walk(index, 0, NOTHING)) {
    const { row } = step
    const path = Buffer.from(step.path)
    const why = whyNot(index, row, isLayer)
    if (why !== undefined) onLeftOut(displayBytes(path), why)
    if (why !== undefined || (without !== undefined && step.depth === 1 && path.toString('latin1') === without)) {
      step.prune = true
      continue
    }
    const stat = rowStat(index, row)
    const leader = stat.ino - 1
    const first = named.get(leader)
    if (first === undefined && admit !== undefined && isFile(stat) && !(await admit(leader, path))) continue
    if (stat.nlink > 1 && first === undefined && !isFolder(stat)) named.set(leader, path)
    const entry = entryOf(index, stat, path, first)
    if (entry.type === 'file') entry.sparse = sparse?.(leader)
    yield tarHeader(entry)
    onEntry?.()
    if (entry.type !== 'file') continue
    yield* content(leader)
    yield tarPadding(tarDataBytes(entry))
  }
  yield TAR_END
}

function whyNot(index: FlistIndex, row: number, isLayer: boolean): string | undefined {
  if (isLayer && row > 0 && index.nameOf(row).subarray(0, WHITEOUT.length).equals(WHITEOUT)) {
    return 'in a layer its name would hide another'
  }
  const type = (index.mode[row] ?? 0) & FILE_TYPE.mask
  return TAR_TYPES[type] === undefined ? 'tars have no sockets' : undefined
}

function isFile({ mode }: RowStat): boolean {
  return (mode & FILE_TYPE.mask) === FILE_TYPE.file
}

function isFolder({ mode }: RowStat): boolean {
  return (mode & FILE_TYPE.mask) === FILE_TYPE.directory
}

function entryOf(index: FlistIndex, stat: RowStat, path: Buffer, first: Buffer | undefined): TarEntry {
  const { mode, uid, gid, mtime, mtimeNs, rdev, ino } = stat
  const type = first === undefined ? (TAR_TYPES[mode & FILE_TYPE.mask] ?? 'file') : 'hardlink'
  const target = first ?? stat.target ?? NOTHING
  return {
    name: path.length === 0 ? ROOT : isFolder(stat) ? Buffer.concat([path, SLASH]) : path,
    type,
    mode: mode & 0o7777,
    uid,
    gid,
    size: type === 'file' ? stat.size : 0,
    mtime,
    mtimeNs,
    target,
    major: majorOf(rdev),
    minor: minorOf(rdev),
    // Programs apply what stands at a hard link to the inode; so what stands there is the same.
    xattrs: index.hasXattrs ? index.xattrs(ino - 1) : [],
    sparse: undefined,
  }
}
