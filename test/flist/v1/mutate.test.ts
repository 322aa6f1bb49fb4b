import fc from 'fast-check'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { gunzipSync } from 'node:zlib'
import t from 'tap'
import { FlistError } from '../../../lib/base/index.ts'
import { TreeBuilder } from '../../../lib/flist/tree-builder.ts'
import { unpackV1 } from '../../../lib/flist/v1/container.ts'
import { readV1 } from '../../../lib/flist/v1/read-v1.ts'
import { goldenDir, NO_GOLDEN } from '../../golden.ts'
import { SCHEMA, writeDatabase } from './test-archive.ts'

const RUNS = Number(process.env['FLISTFS_FUZZ_RUNS'] ?? 60)
const SECONDS_EACH = 60
const ARCHIVES = ['hand', 'rawnames', 'router', 'metadata']
const golden = `${goldenDir() ?? ''}/v1`

interface Change {
  /** Where, as a part of the whole. */
  at: number
  kind: 'flip' | 'set' | 'word' | 'cut' | 'insert' | 'repeat'
  value: number
}

/** Numbers that stand at an edge somewhere in the formats. */
const EDGES = [
  0, 1, 2, 3, 5, 6, 7, 8, 0x0a, 0x0d, 0x7f, 0xff, 0x100, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffc,
  0xffffffff,
]
const changes = fc.array(
  fc.record({
    // Evenly spread: fast-check likes numbers near zero, and every change would hit the first bytes.
    at: fc.noBias(fc.integer({ min: 0, max: 2 ** 30 - 1 })).map((part) => part / 2 ** 30),
    kind: fc.constantFrom<Change['kind']>('flip', 'flip', 'set', 'set', 'word', 'word', 'cut', 'insert', 'repeat'),
    value: fc.oneof(fc.constantFrom(...EDGES), fc.integer({ min: 0, max: 0xffffffff })),
  }),
  { minLength: 1, maxLength: 3 },
)

function mutated(bytes: Uint8Array, list: readonly Change[]): Buffer {
  let result = Buffer.from(bytes)
  for (const { at, kind, value } of list) {
    const offset = Math.floor(at * result.length)
    if (offset + 4 > result.length) continue
    if (kind === 'flip') result[offset] = (result[offset] ?? 0) ^ (1 << (value & 7))
    else if (kind === 'set') result[offset] = value & 0xff
    else if (kind === 'word') result.writeUInt32LE(value, offset & ~3)
    else if (kind === 'cut')
      result = Buffer.concat([result.subarray(0, offset), result.subarray(offset + (value % 64))])
    else if (kind === 'insert')
      result = Buffer.concat([result.subarray(0, offset), Buffer.alloc(value % 64, value), result.subarray(offset)])
    else result.copy(result, offset, value % result.length)
  }
  return result
}

/** Reads it whole; anything but success or a FlistError fails, and so does taking long. */
async function read(path: string): Promise<'read' | 'refused'> {
  const start = performance.now()
  const signal = AbortSignal.timeout(SECONDS_EACH * 1000)
  rmSync(`${path}.tmp`, { force: true })
  let outcome: 'read' | 'refused' = 'read'
  try {
    const { databasePath, routerYaml } = await unpackV1(path, `${path}.tmp`, signal)
    await readV1(databasePath, new TreeBuilder({ format: 'v1', hashBytes: 16 }), { signal, routerYaml })
  } catch (error) {
    if (!(error instanceof FlistError) || error.code === 'FLIST_INTERRUPTED' || error.code === 'FLIST_SYSTEM')
      throw error
    outcome = 'refused'
  }
  const seconds = (performance.now() - start) / 1000
  if (seconds > SECONDS_EACH) throw new Error(`took ${seconds} s`)
  return outcome
}

function fuzz(name: string, make: (archive: string, list: readonly Change[], path: string) => void): void {
  void t.test(
    `a v1 archive with ${name} changed is read or refused`,
    { skip: NO_GOLDEN, timeout: 1000 * (60 + RUNS) },
    async (t) => {
      const path = `${t.testdir()}/archive`
      const counts = { read: 0, refused: 0 }
      const property = fc.asyncProperty(fc.constantFrom(...ARCHIVES), changes, async (archive, list) => {
        make(archive, list, path)
        counts[await read(path)] += 1
      })
      const seed = Number(process.env['FLISTFS_FUZZ_SEED'] ?? Date.now() % 2 ** 31)
      t.comment(`seed ${seed}, ${RUNS} runs`)
      const outcome = await fc.check(property, { numRuns: RUNS, seed })
      t.comment(`${counts.read} read, ${counts.refused} refused`)
      t.notOk(outcome.failed, fc.defaultReportMessage(outcome) ?? 'nothing else happened')
    },
  )
}

const archive = (name: string): Buffer => readFileSync(`${golden}/${name}.flist`)
const messages = new Map<string, Record<string, Buffer>>()

function rowsOf(name: string, path: string): Record<string, Buffer> {
  let rows = messages.get(name)
  if (rows === undefined) {
    const tar = gunzipSync(archive(name))
    writeFileSync(path, tar.subarray(tar.indexOf('SQLite format 3')))
    const database = new DatabaseSync(path, { readOnly: true })
    const found = database.prepare('SELECT key, value FROM entries').all()
    database.close()
    rows = Object.fromEntries(found.map(({ key, value }) => [String(key), Buffer.from(value as Uint8Array)]))
    messages.set(name, rows)
  }
  return rows
}

fuzz('its gzip', (name, list, path) => writeFileSync(path, mutated(archive(name), list)))
fuzz('its tar', (name, list, path) => writeFileSync(path, mutated(gunzipSync(archive(name)), list)))
fuzz('its database', (name, list, path) => {
  const tar = gunzipSync(archive(name))
  writeFileSync(path, mutated(tar.subarray(tar.indexOf('SQLite format 3')), list))
})
fuzz('its messages', (name, list, path) => {
  const rows = rowsOf(name, `${path}.golden`)
  const keys = Object.keys(rows)
  const changed: Record<string, Buffer> = { ...rows }
  for (const change of list) {
    const key = keys[Math.floor(change.value % keys.length)] ?? ''
    changed[key] = mutated(changed[key] ?? Buffer.alloc(0), [
      { ...change, value: EDGES[change.value % EDGES.length] ?? change.value },
    ])
  }
  rmSync(path, { force: true })
  writeDatabase(path, changed, undefined, SCHEMA)
})
