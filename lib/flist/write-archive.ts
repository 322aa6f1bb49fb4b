import { setImmediate as nextTurn } from 'node:timers/promises'
import { FORMAT_TAG } from './fl-schema.ts'
import { FlWriter } from './fl-writer.ts'
import type { TreeBuilder } from './tree-builder.ts'
import { TreeRows } from './tree-rows.ts'

export interface WriteOptions {
  readonly signal: AbortSignal
  /** v1: write no names of users and groups, which are those of this machine. fl has only numbers. */
  readonly numericOwner?: boolean
  /** Rows that are written, of how many. */
  readonly onRows?: ((rows: number, total: number) => void) | undefined
}

const ROWS_PER_TURN = 8192
const FORMAT_VERSION = '1'

/**
 * Publishes a collected tree as an archive of its format, with its routes and tags. Rows are in the order of the index, so that
 * the bytes depend on the tree alone. A file of that name is replaced at the end; nothing is left behind where it fails.
 * Throws FLIST_ARCHIVE_DAMAGED, FLIST_LIMIT, FLIST_INTERRUPTED.
 */
export async function writeArchive(tree: TreeBuilder, path: string, options: WriteOptions): Promise<void> {
  const { signal, numericOwner = false, onRows } = options
  const rows = new TreeRows(tree)
  if (tree.format === 'fl') return writeFl(rows, path, options)
  const { writeV1 } = await import('./v1/write-v1.ts')
  await writeV1(rows, path, { signal, numericOwner, onRows })
}

async function writeFl(rows: TreeRows, path: string, { signal, onRows }: WriteOptions): Promise<void> {
  const { tree, order } = rows
  using writer = new FlWriter(path)
  // The format's own comes last, where it is right: an archive that was read and one that was made are written alike.
  for (const [key, value] of sorted(tree.tags)) if (key !== FORMAT_TAG) writer.addTag(key, value)
  for (const { start, end, url } of tree.routes) writer.addRoute(start, end, url)
  for (let row = 0; row < order.rowCount; row += 1) {
    addRow(writer, rows, row)
    if (row % ROWS_PER_TURN !== 0) continue
    await nextTurn()
    onRows?.(row, order.rowCount)
    signal.throwIfAborted()
  }
  if (writer.hasExtensions) writer.addTag(FORMAT_TAG, FORMAT_VERSION)
  writer.finish()
}

function sorted(tags: ReadonlyMap<string, string>): [string, string][] {
  return [...tags].sort(([a], [b]) => (a < b ? -1 : 1))
}

function addRow(writer: FlWriter, rows: TreeRows, row: number): void {
  const { tree, order } = rows
  const columns = tree.columns
  const source = rows.source(row)
  const leader = order.leader[row] ?? row
  const references = rows.blockCount(row)
  const target = references === 0 && rows.target(row).length > 0 ? rows.target(row) : undefined
  const ino = writer.addInode({
    parent: row === 0 ? 0 : (order.parent[row] ?? 0) + 1,
    name: rows.name(row),
    size: columns.size[source] ?? 0,
    uid: rows.uid(row),
    gid: rows.gid(row),
    mode: rows.mode(row),
    rdev: rows.rdev(row),
    ctime: columns.ctime[source] ?? 0,
    mtime: columns.mtime[source] ?? 0,
    ctimeNs: columns.ctimeNs[source] ?? 0,
    mtimeNs: columns.mtimeNs[source] ?? 0,
    xattrs: leader === row ? rows.xattrs(row) : [],
    ...(target === undefined ? {} : { target }),
    ...(leader === row ? {} : { leader: leader + 1 }),
  })
  if (leader !== row) return
  for (let block = 0; block < references; block += 1) {
    const id = Buffer.allocUnsafe(tree.hashBytes)
    const key = Buffer.allocUnsafe(tree.hashBytes)
    rows.copyBlock(row, block, 0, id, 0)
    rows.copyBlock(row, block, 1, key, 0)
    writer.addBlock(ino, id, key)
  }
}
