import { displaySize } from '../../base/index.ts'
import { FILE_TYPE, isDevice } from '../file-type.ts'
import type { FlistIndex } from '../index-file.ts'
import { majorOf, minorOf, modeText, rowStat, type RowStat } from './entry.ts'
import { localTime } from './local-time.ts'

/** The options of ls(1) that we have. */
export interface ListStyle {
  readonly long: boolean
  /** Names that begin with a dot: none, all but `.` and `..`, all. */
  readonly dots: 'none' | 'almost' | 'all'
  readonly inodes: boolean
  /** Sizes as `1.5K`. */
  readonly human: boolean
  readonly by: 'name' | 'size' | 'time'
  readonly reverse: boolean
}

export interface Listed {
  readonly name: Buffer
  readonly row: number
}

const DOT = 0x2e
const NEWLINE = Buffer.from('\n')
const ARROW = Buffer.from(' -> ')

/** The children of a folder that `style` shows, in its order. */
export function childrenOf(index: FlistIndex, row: number, style: ListStyle): Listed[] {
  const list: Listed[] = []
  if (style.dots === 'all') {
    list.push({ name: Buffer.from('.'), row }, { name: Buffer.from('..'), row: index.parent[row] ?? 0 })
  }
  const first = index.first[row] ?? 0
  const end = first + (index.count[row] ?? 0)
  for (let child = first; child < end; child += 1) {
    const name = index.nameOf(child)
    if (style.dots !== 'none' || name[0] !== DOT) list.push({ name, row: child })
  }
  sort(index, list, style)
  return list
}

/** Stable: what is equal stays in the order of names. */
function sort(index: FlistIndex, list: Listed[], { by, reverse }: ListStyle): void {
  if (by !== 'name') {
    const keys = new Map(list.map(({ row }) => [row, rowStat(index, row)]))
    const key = (row: number): readonly [number, number] => {
      const stat = keys.get(row)
      return by === 'size' ? [stat?.size ?? 0, 0] : [stat?.mtime ?? 0, stat?.mtimeNs ?? 0]
    }
    list.sort((a, b) => {
      const [x, y] = [key(a.row), key(b.row)]
      return y[0] - x[0] || y[1] - x[1]
    })
  }
  if (reverse) list.reverse()
}

/** Lines of ls(1) for these entries; `-l` columns as wide as their widest cell. */
export function listLines(index: FlistIndex, list: readonly Listed[], style: ListStyle): Buffer {
  const stats = list.map(({ row }) => rowStat(index, row))
  const columns = style.long ? longColumns(stats, style.human) : stats.map(() => [])
  const cells = columns.map((cells, nth) => (style.inodes ? [String(stats[nth]?.ino), ...cells] : cells))
  const widths: number[] = []
  for (const row of cells) row.forEach((cell, at) => (widths[at] = Math.max(widths[at] ?? 0, cell.length)))
  const parts: Buffer[] = []
  list.forEach(({ name }, nth) => {
    const line = (cells[nth] ?? []).map((cell, at) => cell.padStart(widths[at] ?? 0))
    parts.push(Buffer.from(line.map((cell) => `${cell} `).join('')), name)
    const target = stats[nth]?.target
    if (style.long && target !== undefined) parts.push(ARROW, target)
    parts.push(NEWLINE)
  })
  return Buffer.concat(parts)
}

/** KiB that `ls -l` says in front of a folder's list. */
export function totalKib(index: FlistIndex, list: readonly Listed[]): number {
  let halves = 0
  for (const { row } of list) halves += Math.ceil(rowStat(index, row).size / 512)
  return Math.ceil(halves / 2)
}

function longColumns(stats: readonly RowStat[], human: boolean): string[][] {
  const majors = stats.filter(({ mode }) => isDevice(mode)).map(({ rdev }) => String(majorOf(rdev)).length)
  const minors = stats.filter(({ mode }) => isDevice(mode)).map(({ rdev }) => String(minorOf(rdev)).length)
  const [major, minor] = [Math.max(0, ...majors), Math.max(0, ...minors)]
  return stats.map((stat) => {
    const device = `${String(majorOf(stat.rdev)).padStart(major)}, ${String(minorOf(stat.rdev)).padStart(minor)}`
    const size = human ? displaySize(stat.size).replaceAll(/ |iB| B|B$/g, '') : String(stat.size)
    return [
      modeText(stat.mode),
      String(stat.nlink),
      String(stat.uid),
      String(stat.gid),
      isDevice(stat.mode) ? device : size,
      localTime(stat.mtime),
    ]
  })
}

/** Whether a row is a folder. */
export function isFolder(index: FlistIndex, row: number): boolean {
  return ((index.mode[row] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.directory
}
