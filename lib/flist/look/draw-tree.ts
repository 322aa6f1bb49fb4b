import type { FlistIndex } from '../index-file.ts'
import { rowStat, targetOf } from './entry.ts'
import { isFolder } from './list-folder.ts'

export interface DrawOptions {
  /** Levels below the start; undefined: all. */
  readonly depthMax: number | undefined
  /** Names that begin with a dot too. */
  readonly all: boolean
  readonly foldersOnly: boolean
  /** Sizes in front of names. */
  readonly sizes: boolean
}

export interface DrawnCount {
  folders: number
  others: number
}

const DOT = 0x2e
const ARROW = Buffer.from(' -> ')
const NEWLINE = Buffer.from('\n')

/** The lines of tree(1) below a folder, each handed to `emit`, which says whether to go on. */
export function drawTree(
  index: FlistIndex,
  start: number,
  options: DrawOptions,
  emit: (line: Buffer) => boolean,
): DrawnCount {
  const count: DrawnCount = { folders: 0, others: 0 }
  const levels = [{ rows: shown(index, start, options), nth: 0, indent: '' }]
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const row = level.rows[level.nth]
    if (row === undefined) {
      levels.pop()
      continue
    }
    level.nth += 1
    const isLast = level.nth === level.rows.length
    const folder = isFolder(index, row)
    if (folder) count.folders += 1
    else count.others += 1
    if (!emit(line(index, row, `${level.indent}${isLast ? '└── ' : '├── '}`, options))) break
    if (folder && (options.depthMax === undefined || levels.length < options.depthMax)) {
      const indent = `${level.indent}${isLast ? '    ' : '│   '}`
      levels.push({ rows: shown(index, row, options), nth: 0, indent })
    }
  }
  return count
}

function shown(index: FlistIndex, row: number, { all, foldersOnly }: DrawOptions): number[] {
  if (!isFolder(index, row)) return []
  const first = index.first[row] ?? 0
  const rows = Array.from({ length: index.count[row] ?? 0 }, (_, nth) => first + nth)
  return rows.filter(
    (child) => (all || index.names[index.nameAt[child] ?? 0] !== DOT) && (!foldersOnly || isFolder(index, child)),
  )
}

function line(index: FlistIndex, row: number, indent: string, { sizes }: DrawOptions): Buffer {
  const size = sizes ? `[${String(rowStat(index, row).size).padStart(11)}]  ` : ''
  const target = targetOf(index, row)
  const tail = target === undefined ? [] : [ARROW, target]
  return Buffer.concat([Buffer.from(indent + size), index.nameOf(row), ...tail, NEWLINE])
}
