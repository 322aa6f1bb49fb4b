import { createReadStream, createWriteStream, statSync } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { createGzip } from 'node:zlib'
import { createBLAKE2b } from 'hash-wasm'
import { pack } from 'tar-stream'
import { FILE_TYPE } from '../file-type.ts'
import { TemporaryFile } from '../../system/index.ts'
import { fixHeader, newDatabase } from '../sqlite-file.ts'
import type { TreeRows } from '../tree-rows.ts'
import { hostNames, NUMBERS_ONLY } from './account-names.ts'
import { AclWriter } from './acl-writer.ts'
import { DirectoryWriter } from './directory-writer.ts'
import { routeTags } from './route-tags.ts'

export interface WriteV1Options {
  readonly signal: AbortSignal
  /** No names of users and groups, which are those of this machine. */
  readonly numericOwner: boolean
  /** Rows that are written, of how many. */
  readonly onRows?: ((rows: number, total: number) => void) | undefined
}

/** flist-v1.md section 2. */
const TABLES = `
CREATE TABLE entries (key VARCHAR(64) PRIMARY KEY, value BLOB);
CREATE TABLE metadata (key VARCHAR(64) PRIMARY KEY, value TEXT);
`
const FOLDERS_PER_TURN = 1024
const EPOCH = new Date(0)

/** Publishes a v1 archive: its database, in a tar, in gzip. Throws FLIST_LIMIT, and what the system says. */
export async function writeV1(rows: TreeRows, path: string, options: WriteV1Options): Promise<void> {
  using database = new TemporaryFile(path, 0o600)
  using packed = new TemporaryFile(path)
  await writeDatabase(rows, database.path, options)
  await packDatabase(database.path, packed.path, options.signal)
  packed.publish()
}

async function writeDatabase(
  rows: TreeRows,
  path: string,
  { signal, numericOwner, onRows }: WriteV1Options,
): Promise<void> {
  const [wide, narrow] = await Promise.all([createBLAKE2b(128), createBLAKE2b(64)])
  const acls = new AclWriter(numericOwner ? NUMBERS_ONLY : hostNames('/etc'), (text) =>
    narrow.init().update(text).digest(),
  )
  const directories = new DirectoryWriter(rows, acls, (location) => wide.init().update(location).digest())
  const database = newDatabase(path)
  try {
    database.exec(TABLES)
    const entry = database.prepare('INSERT INTO entries VALUES (?, ?)')
    // The root is the first row: rfs numbers folders by their rows, and the root is 1.
    for (let row = 0, folders = 0; row < rows.order.rowCount; row += 1) {
      if (rows.type(row) !== FILE_TYPE.directory) continue
      const { key, message } = directories.write(row)
      entry.run(key, message)
      folders += 1
      if (folders % FOLDERS_PER_TURN !== 0) continue
      await nextTurn()
      onRows?.(row, rows.order.rowCount)
      signal.throwIfAborted()
    }
    for (const [key, message] of acls.messages()) entry.run(key, message)
    const tag = database.prepare('INSERT INTO metadata VALUES (?, ?)')
    for (const [key, value] of routeTags(rows.tree.tags, rows.tree.routes)) tag.run(key, value)
    database.exec('COMMIT')
  } finally {
    database.close()
  }
  fixHeader(path)
}

/** `./` and `./flistdb.sqlite3`, as the reference writer has them, but for the times. */
async function packDatabase(database: string, path: string, signal: AbortSignal): Promise<void> {
  const tar = pack()
  const writing = pipeline(tar, createGzip(), createWriteStream(path, { flags: 'r+' }), { signal })
  const filling = fill(tar, database)
  filling.catch((error: unknown) => tar.destroy(error instanceof Error ? error : new Error(String(error))))
  await Promise.all([writing, filling])
}

async function fill(tar: ReturnType<typeof pack>, database: string): Promise<void> {
  tar.entry({ name: './', type: 'directory', mode: 0o755, mtime: EPOCH })
  const { size } = statSync(database)
  const member = tar.entry({ name: './flistdb.sqlite3', mode: 0o644, mtime: EPOCH, size })
  await pipeline(createReadStream(database, { highWaterMark: 256 * 1024 }), member)
  tar.finalize()
}
