import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { ROOT_KEY } from '../../../lib/flist/v1/layout.ts'
import { readV1Archive } from '../../../lib/flist/v1/read.ts'
import { goldenDir, NO_GOLDEN } from '../../golden.ts'
import { MemorySink } from './memory-sink.ts'
import { tarOf, writeDatabase } from './test-archive.ts'
import { dirMessage } from './write-message.ts'

const signal = new AbortController().signal

void t.test('readV1Archive() reads a packed archive and cleans up', { skip: NO_GOLDEN }, async (t) => {
  const scratchDir = t.testdir()
  const sink = new MemorySink()
  await readV1Archive(`${goldenDir() ?? ''}/v1/router.flist`, sink, { signal, scratchDir })
  t.equal(sink.entries.length, 3)
  t.equal(sink.routes.length, 2)
  t.strictSame(readdirSync(scratchDir), [])
})

void t.test('readV1Archive() reads a bare database and leaves it', async (t) => {
  const scratchDir = t.testdir()
  const path = writeDatabase(`${scratchDir}/bare`, { [ROOT_KEY]: dirMessage([]) })
  const sink = new MemorySink()
  await readV1Archive(path, sink, { signal, scratchDir })
  t.equal(sink.entries.length, 1)
  t.ok(existsSync(path))
})

void t.test('readV1Archive() names the archive, not its copy, and cleans up', async (t) => {
  const scratchDir = t.testdir({ scratch: {} })
  const path = `${scratchDir}/broken.flist`
  writeFileSync(path, await tarOf([{ name: 'flistdb.sqlite3', bytes: Buffer.alloc(5000) }]))
  const options = { signal, scratchDir: `${scratchDir}/scratch` }
  await t.rejects(readV1Archive(path, new MemorySink(), options), {
    code: 'FLIST_ARCHIVE_DAMAGED',
    message: /broken\.flist": it is not an SQLite 3 database/,
  })
  t.strictSame(readdirSync(options.scratchDir), [])
})
