import { DatabaseSync } from 'node:sqlite'

/** What an fl's own tables say of one path; times of change apart, since nobody can set them. */
export interface FlRow {
  size: number
  uid: number
  gid: number
  mode: number
  rdev: number
  mtime: number
  ctime: number
  /** Hex. */
  target: string | undefined
  /** `id key` of each block, hex. */
  blocks: string[]
}

export interface FlTables {
  /** By path; the root's is ''. */
  readonly rows: Map<string, FlRow>
  readonly routes: unknown[]
  readonly tags: unknown[]
}

/** Reads an fl by the statements of its specification, with nothing of ours in between. */
export function readTables(path: string): FlTables {
  const database = new DatabaseSync(path, { readOnly: true })
  try {
    const inodes = database.prepare('SELECT * FROM inode').all() as unknown as ({
      ino: number
      parent: number
      name: string
    } & FlRow)[]
    const byIno = new Map(inodes.map((inode) => [inode.ino, inode]))
    const targets = new Map<number, string>()
    for (const { ino, data } of database.prepare('SELECT ino, data FROM extra').all()) {
      targets.set(Number(ino), Buffer.from(data as Uint8Array).toString('hex'))
    }
    const blocks = new Map<number, string[]>()
    for (const { ino, id, key } of database.prepare('SELECT ino, id, key FROM block ORDER BY rowid').all()) {
      const list = blocks.get(Number(ino)) ?? []
      list.push(`${hex(id)} ${hex(key)}`)
      blocks.set(Number(ino), list)
    }
    const pathOf = (ino: number): string => {
      const inode = byIno.get(ino)
      if (inode === undefined || inode.parent === 0) return ''
      const above = pathOf(inode.parent)
      return above === '' ? inode.name : `${above}/${inode.name}`
    }
    const rows = new Map<string, FlRow>()
    for (const { ino, size, uid, gid, mode, rdev, mtime, ctime } of inodes) {
      const its = { size, uid, gid, mode, rdev, mtime, ctime, target: targets.get(ino), blocks: blocks.get(ino) ?? [] }
      rows.set(pathOf(ino), its)
    }
    const all = (sql: string): unknown[] =>
      database
        .prepare(sql)
        .all()
        .map((row) => Object.values(row))
    return { rows, routes: all('SELECT * FROM route ORDER BY rowid'), tags: all('SELECT * FROM tag ORDER BY key') }
  } finally {
    database.close()
  }
}

function hex(value: unknown): string {
  return Buffer.from(value as Uint8Array).toString('hex')
}
