import type { DatabaseSync } from 'node:sqlite'
import { LIMITS } from '../base/index.ts'
import { beyondLimit, damaged } from './damage.ts'
import type { TreeSink } from './tree-sink.ts'

/** Reads the `route` table, in the order of its rows. */
export function readRoutes(database: DatabaseSync, sink: TreeSink): void {
  const statement = database.prepare('SELECT start, "end", CAST(url AS BLOB) FROM route ORDER BY _rowid_')
  statement.setReturnArrays(true)
  for (const row of statement.iterate() as Iterable<unknown>) {
    const [start, end, url] = Array.isArray(row) ? (row as unknown[]) : []
    if (!isByte(start) || !isByte(end)) throw damaged('this archive', 'a route does not begin and end at 0 to 255')
    if (!(url instanceof Uint8Array) || url.length > LIMITS.routeUrlBytesMax) {
      throw damaged('this archive', `a route has no URL, or one of more than ${LIMITS.routeUrlBytesMax} bytes`)
    }
    if (sink.routes.length >= LIMITS.routesMax) {
      throw beyondLimit('this archive', `it has more than ${LIMITS.routesMax} routes`)
    }
    sink.routes.push({ start, end, url: Buffer.from(url).toString('utf8') })
  }
}

/** Reads the `tag` table. */
export function readTags(database: DatabaseSync, sink: TreeSink): void {
  const statement = database.prepare('SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM tag ORDER BY _rowid_')
  statement.setReturnArrays(true)
  let bytes = 0
  for (const row of statement.iterate() as Iterable<unknown>) {
    const [key, value] = Array.isArray(row) ? (row as unknown[]) : []
    if (!(key instanceof Uint8Array) || !(value instanceof Uint8Array)) {
      throw damaged('this archive', 'a tag has no key or no value')
    }
    bytes += key.length + value.length
    if (key.length > LIMITS.tagBytesMax || value.length > LIMITS.tagBytesMax || bytes > LIMITS.tagsBytesMax) {
      throw beyondLimit('this archive', 'its tags are too long')
    }
    if (sink.tags.size >= LIMITS.tagsMax) throw beyondLimit('this archive', `it has more than ${LIMITS.tagsMax} tags`)
    sink.tags.set(Buffer.from(key).toString('utf8'), Buffer.from(value).toString('utf8'))
  }
}

function isByte(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 255
}
