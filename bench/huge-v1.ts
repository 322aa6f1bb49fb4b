import { mkdtempSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { LIMITS } from '../lib/base/index.ts'
import { ROOT_KEY } from '../lib/flist/v1/layout.ts'
import { SCHEMA } from '../test/flist/v1/test-archive.ts'
import { aciMessage, dirMessage, type TestEntry } from '../test/flist/v1/write-message.ts'
import { fakeHash } from './content.ts'
import { shell } from './shell.ts'

/** The huge tree of `fixtures.ts` as a v1 archive. */
export function writeHugeV1(archive: string, folders: number): void {
  const scratch = mkdtempSync(join(dirname(archive), 'v1-'))
  try {
    const database = new DatabaseSync(join(scratch, 'flistdb.sqlite3'))
    database.exec(`PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF; ${SCHEMA}; BEGIN`)
    const insert = database.prepare('INSERT INTO entries VALUES (?, ?)')
    insert.run('a-folder', aciMessage({ mode: 0o755, uid: 0, gid: 0 }))
    insert.run('a-file', aciMessage({ mode: 0o644, uid: 0, gid: 0 }))
    const root: TestEntry[] = []
    let blocks = 0
    for (let folder = 0; folder < folders; folder += 1) {
      const key = `folder-${folder}`
      root.push({ name: key, kind: 'dir', text: key, acl: 'a-folder', times: [1_700_000_000, 1_700_000_000] })
      const entries: TestEntry[] = []
      for (let nth = 0; nth < 99; nth += 1) {
        entries.push(file(nth, blocks))
        blocks += nth === 50 ? 2 : 1
      }
      insert.run(key, dirMessage(entries, { acl: 'a-folder' }))
    }
    insert.run(ROOT_KEY, dirMessage(root, { acl: 'a-folder' }))
    database.exec('COMMIT')
    database.close()
    const packed = join(scratch, 'archive')
    shell(`tar -C ${scratch} -cf - flistdb.sqlite3 | gzip -1 > ${packed}`)
    renameSync(packed, archive)
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function file(nth: number, firstBlock: number): TestEntry {
  const isLong = nth === 50
  const blocks = Array.from({ length: isLong ? 2 : 1 }, (_, at) => ({
    hash: fakeHash(16, firstBlock + at, 0),
    key: fakeHash(16, firstBlock + at, 1),
  }))
  const size = isLong ? LIMITS.blockBytesMax + 4096 : 4096
  return {
    name: `some-file-${nth}.txt`,
    kind: 'file',
    size,
    acl: 'a-file',
    blocks,
    times: [1_700_000_000, 1_700_000_000],
  }
}
