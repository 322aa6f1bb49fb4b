import { displayBytes, wordBytes } from '../base/index.ts'
import {
  childrenOf,
  drawTree,
  type DrawnCount,
  type DrawOptions,
  findPath,
  isFolder,
  type Listed,
  listLines,
  type ListStyle,
  localTime,
  rowStat,
  totalKib,
} from '../flist/index.ts'
import { type Entry, entryOf, type Sink } from './look.ts'
import type { OpenedArchive } from './open-archive.ts'

export interface ListRequest extends ListStyle {
  readonly paths: readonly string[]
  /** Folders are listed as entries, not by what is in them. */
  readonly folders: boolean
  readonly recursive: boolean
}

interface Place extends Listed {
  readonly path: Buffer
}

/** ls(1) over an archive. With `asEntry` it gets the entries in place of lines. Throws FLIST_USAGE for a path that is not there. */
export function listArchive(
  { index }: OpenedArchive,
  request: ListRequest,
  sink: Sink,
  asEntry: ((entry: Entry) => void) | undefined,
): void {
  const { paths, folders, recursive, long } = request
  const places = (paths.length === 0 ? ['.'] : paths).map((text): Place => {
    const path = wordBytes(text)
    // As ls(1): a link to a folder is gone through, unless it is to be shown itself.
    return { path, name: path, row: findPath(index, path, !folders && !long).row }
  })
  const single = places.filter(({ row }) => folders || !isFolder(index, row))
  const queue = places.filter(({ row }) => !folders && isFolder(index, row))
  const show = (list: readonly Listed[], folder: Buffer | undefined): void => {
    if (asEntry === undefined) return sink.push(listLines(index, list, request))
    for (const { name, row } of list) asEntry(entryOf(join(folder, name), rowStat(index, row)))
  }
  if (single.length > 0) show(single, undefined)
  const titled = recursive || places.length > 1
  let isFirst = single.length === 0
  for (let place = queue.shift(); place !== undefined && !sink.closed; place = queue.shift()) {
    const list = childrenOf(index, place.row, request)
    if (asEntry === undefined) {
      const title = titled ? `${isFirst ? '' : '\n'}${place.path.toString('latin1')}:\n` : ''
      const total = long ? `total ${totalKib(index, list)}\n` : ''
      sink.push(Buffer.from(title + total, 'latin1'))
    }
    isFirst = false
    show(list, place.path)
    if (recursive) queue.unshift(...foldersIn(list, place, (row) => isFolder(index, row)))
  }
}

function foldersIn(list: readonly Listed[], place: Place, isOne: (row: number) => boolean): Place[] {
  return list
    .filter(({ row, name }) => isOne(row) && row !== place.row && !name.equals(DOTS))
    .map(({ name, row }) => ({ name, row, path: join(place.path, name) }))
}

const DOTS = Buffer.from('..')
const SLASH = Buffer.from('/')

function join(folder: Buffer | undefined, name: Buffer): Buffer {
  if (folder === undefined) return name
  return Buffer.concat(folder.at(-1) === 0x2f ? [folder, name] : [folder, SLASH, name])
}

/** tree(1) over an archive: the path, what is below it, and a count. Throws FLIST_USAGE. */
export function drawArchive(
  { index }: OpenedArchive,
  path: string,
  options: DrawOptions,
  sink: Sink,
): DrawnCount & { path: string } {
  const start = wordBytes(path)
  sink.push(Buffer.concat([start, Buffer.from('\n')]))
  const count = drawTree(index, findPath(index, start).row, options, (line) => {
    sink.push(line)
    return !sink.closed
  })
  return { path: displayBytes(start), ...count }
}

export { localTime }
