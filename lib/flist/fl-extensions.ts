import type { DatabaseSync } from 'node:sqlite'
import { damaged } from './damage.ts'
import { knownEntry, namingInode } from './fl-reader.ts'
import type { Turns } from './fl-reader.ts'
import { hasTable } from './hostile-database.ts'
import type { InoMap } from './ino-map.ts'
import type { TreeSink } from './tree-sink.ts'

/** Tables that carry what rfs's have no place for (`docs/format.md`); each may be missing. Row: the inode, then its values. */
const EXTENSIONS: readonly {
  table: string
  select: string
  apply: (sink: TreeSink, entry: number, row: readonly unknown[], inos: InoMap) => void
}[] = [
  {
    table: 'x_name',
    select: 'SELECT ino, CAST(name AS BLOB) FROM x_name',
    apply: (sink, entry, row) => sink.setName(entry, bytesAt(row, 1)),
  },
  {
    table: 'x_time',
    select: 'SELECT ino, mtime_ns, ctime_ns FROM x_time',
    apply: (sink, entry, row) => sink.setTimesNs(entry, numberAt(row, 1), numberAt(row, 2)),
  },
  {
    table: 'x_link',
    select: 'SELECT ino, leader FROM x_link',
    apply: (sink, entry, row, inos) => sink.setLink(entry, knownEntry(inos, numberAt(row, 1))),
  },
  {
    table: 'x_xattr',
    select: 'SELECT ino, CAST(name AS BLOB), CAST(value AS BLOB) FROM x_xattr',
    apply: (sink, entry, row) => sink.setXattr(entry, bytesAt(row, 1), bytesAt(row, 2)),
  },
]

export async function readExtensions(
  database: DatabaseSync,
  sink: TreeSink,
  inos: InoMap,
  turns: Turns,
): Promise<void> {
  for (const { table, select, apply } of EXTENSIONS) {
    if (!hasTable(database, table)) continue
    const statement = database.prepare(select)
    statement.setReturnArrays(true)
    for (const row of statement.iterate() as Iterable<unknown>) {
      if (!Array.isArray(row)) continue
      const ino = numberAt(row, 0)
      try {
        apply(sink, knownEntry(inos, ino), row, inos)
      } catch (error) {
        throw namingInode(error, ino)
      }
      if (turns.isDue(1)) await turns.turn()
    }
  }
}

function numberAt(row: readonly unknown[], column: number): number {
  const value = row[column]
  if (typeof value !== 'number' || !Number.isSafeInteger(value))
    throw damaged('a row', 'a value of it is no whole number')
  return value
}

function bytesAt(row: readonly unknown[], column: number): Uint8Array {
  const value = row[column]
  if (!(value instanceof Uint8Array)) throw damaged('a row', 'a value of it is missing')
  return value
}
