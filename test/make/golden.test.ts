import { copyFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { TreeBuilder, writeArchive } from '../../lib/flist/index.ts'
import { readFl } from '../../lib/flist/fl-reader.ts'
import { packFolder } from '../../lib/make/index.ts'
import { goldenDir, NO_GOLDEN } from '../golden.ts'
import { type FlRow, type FlTables, readTables } from './fl-tables.ts'
import { restore } from './restore.ts'

const NEVER = new AbortController().signal
const AS_ROOT = process.getuid?.() !== 0 && 'needs root: owners and devices'
const golden = (name: string): string => join(goldenDir() ?? '', 'fl', name)

void t.test('writeArchive() writes the rows that rfs wrote', { skip: NO_GOLDEN, timeout: 600_000 }, async (t) => {
  for (const name of ['hand', 'debian', 'sharded', 'missing', 'empty']) {
    const tree = new TreeBuilder({ format: 'fl', hashBytes: 32 })
    await readFl(golden(`${name}.fl`), tree, { signal: NEVER })
    const path = join(t.testdir({}), `${name}.fl`)
    await writeArchive(tree, path, { signal: NEVER })
    const [ours, theirs] = [readTables(path), readTables(golden(`${name}.fl`))]
    t.same(differences(ours, theirs, ['size', 'uid', 'gid', 'mode', 'rdev', 'mtime', 'ctime', 'target', 'blocks']), [])
    t.same(ours.routes, theirs.routes)
    t.same(ours.tags, theirs.tags)
  }
})

void t.test(
  'packFolder() makes the rows and blocks that rfs made',
  { skip: NO_GOLDEN || AS_ROOT, timeout: 600_000 },
  async (t) => {
    for (const [name, store] of [
      ['hand', 'store'],
      ['debian', 'store'],
      ['sharded', ''],
    ] as const) {
      const theirs = readTables(golden(`${name}.fl`))
      const dir = t.testdir({ tree: {} })
      const from = store === '' ? merged(dir) : golden(store)
      const { leftOut } = await restore(theirs, from, join(dir, 'tree'))
      for (const path of leftOut) theirs.rows.delete(path)
      const made = await packFolder(
        {
          source: join(dir, 'tree'),
          archive: join(dir, 'a.fl'),
          format: 'fl',
          stores: [{ start: 0, end: 255, url: `dir://${join(dir, 'blocks')}` }],
          baseDir: dir,
        },
        NEVER,
      )
      t.same(made.problems, [])
      const ours = readTables(join(dir, 'a.fl'))
      for (const row of [...ours.rows.values(), ...theirs.rows.values()])
        if ((row.mode & 0o170000) === 0o040000) row.size = 0
      t.same(differences(ours, theirs, ['size', 'uid', 'gid', 'mode', 'rdev', 'mtime', 'target', 'blocks']), [])
      const blocks = new Set(
        [...theirs.rows.values()].flatMap((row) => row.blocks.map((block) => block.split(' ')[0] ?? '')),
      )
      t.equal(made.blocks, blocks.size)
      t.equal(made.newBlocks, blocks.size)
      let different = 0
      for (const id of blocks) {
        const path = join(id.slice(0, 2), id)
        if (!readFileSync(join(dir, 'blocks', path)).equals(readFileSync(join(from, path)))) different += 1
      }
      t.equal(different, 0, 'and the stored bytes are the same')
    }
  },
)

/** One folder with the blocks of both stores of `sharded`. */
function merged(dir: string): string {
  const store = join(dir, 'both')
  for (const name of ['store-A', 'store-B']) {
    for (const shard of readdirSync(golden(name))) {
      mkdirSync(join(store, shard), { recursive: true })
      for (const id of readdirSync(join(golden(name), shard))) {
        copyFileSync(join(golden(name), shard, id), join(store, shard, id))
      }
    }
  }
  return store
}

function differences(ours: FlTables, theirs: FlTables, columns: readonly (keyof FlRow)[]): string[] {
  const found: string[] = []
  for (const path of new Set([...ours.rows.keys(), ...theirs.rows.keys()])) {
    const [one, other] = [ours.rows.get(path), theirs.rows.get(path)]
    if (one === undefined || other === undefined) found.push(`${path}: ${one === undefined ? 'missing' : 'too many'}`)
    else
      for (const column of columns)
        if (String(one[column]) !== String(other[column]))
          found.push(`${path}: ${column} ${String(one[column])} ${String(other[column])}`)
  }
  return found.slice(0, 20)
}
