import { DatabaseSync } from 'node:sqlite'
import { pack } from 'tar-stream'

export const SCHEMA = 'CREATE TABLE entries  (key VARCHAR(64) PRIMARY KEY, value BLOB);'
export const METADATA = 'CREATE TABLE metadata (key VARCHAR(64) PRIMARY KEY, value TEXT);'

/** Writes a database with these rows. */
export function writeDatabase(
  path: string,
  rows: Record<string, Buffer | string | null>,
  metadata?: Record<string, string>,
  schema = SCHEMA,
): string {
  const database = new DatabaseSync(path)
  database.exec(`PRAGMA synchronous=OFF; ${schema}`)
  const insert = database.prepare('INSERT INTO entries VALUES (?, ?)')
  for (const [key, value] of Object.entries(rows)) insert.run(key, value)
  if (metadata !== undefined) {
    database.exec(METADATA)
    const insertTag = database.prepare('INSERT INTO metadata VALUES (?, ?)')
    for (const [key, value] of Object.entries(metadata)) insertTag.run(key, value)
  }
  database.close()
  return path
}

/** A tar of these members. */
export async function tarOf(
  members: { name: string; bytes?: Buffer; type?: 'directory' | 'symlink'; linkname?: string }[],
): Promise<Buffer> {
  const tar = pack()
  for (const { name, bytes, type, linkname } of members) {
    if (type === 'directory') tar.entry({ name, type })
    else if (type === 'symlink') tar.entry({ name, type, linkname: linkname ?? '' })
    else tar.entry({ name }, bytes ?? Buffer.alloc(0))
  }
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
