import { readFileSync } from 'node:fs'
import t from 'tap'
import { FILE_TYPE } from '../../lib/flist/index.ts'
import type { FlistIndex } from '../../lib/flist/index.ts'
import { goldenDir, NO_GOLDEN } from '../golden.ts'
import { brokenPromise, compiled, rowAt, secondsAt } from './helpers.ts'

interface ManifestEntry {
  path: string
  type: string
  mode: string
  uid: number
  gid: number
  size: number
  mtime: number
  ctime: number
  nlink: number
  target?: string
}

const TYPES: Record<string, number> = {
  dir: FILE_TYPE.directory,
  file: FILE_TYPE.file,
  link: FILE_TYPE.link,
  symlink: FILE_TYPE.link,
  fifo: FILE_TYPE.fifo,
  socket: FILE_TYPE.socket,
  char: FILE_TYPE.character,
  chr: FILE_TYPE.character,
  block: FILE_TYPE.block,
  blk: FILE_TYPE.block,
}

function factsOf(index: FlistIndex, row: number) {
  const owner = index.owner[row] ?? 0
  const mode = index.mode[row] ?? 0
  const first = index.first[row] ?? 0
  const type = mode & FILE_TYPE.mask
  return {
    type,
    mode: mode & 0o7777,
    uid: index.owners[owner * 2],
    gid: index.owners[owner * 2 + 1],
    size: index.size[row],
    mtime: secondsAt(index.mtime, row),
    ctime: secondsAt(index.ctime, row),
    target: type === FILE_TYPE.link ? index.names.toString('utf8', first, first + (index.count[row] ?? 0)) : undefined,
  }
}

for (const name of ['hand', 'debian', 'sharded', 'missing']) {
  void t.test(`readFl() of ${name}.fl agrees with its manifest`, { skip: NO_GOLDEN }, async (t) => {
    const golden = `${goldenDir()}/fl`
    const manifestName = name === 'missing' ? 'sharded' : name
    const manifest = JSON.parse(readFileSync(`${golden}/${manifestName}.manifest.json`, 'utf8')) as {
      entries: ManifestEntry[]
    }
    const index = await compiled(`${golden}/${name}.fl`, `${t.testdir()}/x.idx`)
    t.equal(brokenPromise(index), undefined)
    t.equal(index.rowCount, manifest.entries.length)
    t.equal(index.inodeCount, index.rowCount, 'rfs knows no hard links')
    let blocks = 0
    for (const entry of manifest.entries) {
      const row = rowAt(index, entry.path)
      if (row < 0) t.fail(`${entry.path} is not found`)
      const isSpecial = ['fifo', 'socket', 'char', 'chr', 'block', 'blk'].includes(entry.type)
      const facts = factsOf(index, row)
      if (!isSpecial && TYPES[entry.type] === undefined) t.fail(`type ${entry.type}`)
      const wanted = {
        type: TYPES[entry.type],
        mode: Number.parseInt(entry.mode, 8),
        uid: entry.uid,
        gid: entry.gid,
        size: entry.size,
        mtime: BigInt(entry.mtime),
        ctime: BigInt(entry.ctime),
        target: entry.target,
      }
      if (JSON.stringify(facts, plain) !== JSON.stringify(wanted, plain)) t.same(facts, wanted, entry.path)
      if (facts.type === FILE_TYPE.file) {
        blocks += Math.ceil(entry.size / 524288)
        if (index.count[row] !== Math.ceil(entry.size / 524288)) t.fail(`blocks of ${entry.path}`)
      }
      if (entry.type === 'dir' && index.nlink[row] !== entry.nlink) t.fail(`nlink of ${entry.path}`)
      if (index.pathOf(row).toString() !== entry.path) t.fail(`path of ${entry.path}`)
    }
    t.equal(index.blockCount, blocks)
    index.close()
  })
}

function plain(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}

void t.test('readFl() gives a device number as the kernel has it', { skip: NO_GOLDEN }, async (t) => {
  const index = await compiled(`${goldenDir()}/fl/hand.fl`, `${t.testdir()}/x.idx`)
  const numbers: Record<string, number> = {}
  for (let row = 0; row < index.rowCount; row += 1) {
    const type = (index.mode[row] ?? 0) & FILE_TYPE.mask
    if (type === FILE_TYPE.block || type === FILE_TYPE.character) {
      numbers[index.nameOf(row).toString()] = index.first[row] ?? -1
    }
  }
  t.match(numbers, { null: (1 << 8) | 3, loop0: 7 << 8, big: 4096761920 })
  t.ok(Object.values(numbers).includes(0), '0:0 exists')
  t.same(index.tags, { version: '0.1', description: 'hand made tree' })
  t.same(index.routes, [{ start: 0, end: 255, url: 'dir:///golden/store' }])
  index.close()
})

void t.test('readFl() of empty.fl has the root only', { skip: NO_GOLDEN }, async (t) => {
  const index = await compiled(`${goldenDir()}/fl/empty.fl`, `${t.testdir()}/x.idx`)
  t.equal(index.rowCount, 1)
  t.equal(index.blockCount, 0)
  t.equal(index.nlink[0], 2)
  t.equal(index.pathOf(0).length, 0)
  index.close()
})

void t.test('readFl() keeps both routes of sharded.fl and the order of blocks', { skip: NO_GOLDEN }, async (t) => {
  const index = await compiled(`${goldenDir()}/fl/sharded.fl`, `${t.testdir()}/x.idx`)
  t.same(
    index.routes.map(({ start, end }) => [start, end]),
    [
      [0, 0x7f],
      [0x80, 0xff],
    ],
  )
  const { DatabaseSync } = await import('node:sqlite')
  const database = new DatabaseSync(`file://${goldenDir()}/fl/sharded.fl?immutable=1`, { readOnly: true })
  for (const { ino, name } of database.prepare('SELECT ino, name FROM inode WHERE mode & 61440 = 32768').all()) {
    const rows = database.prepare('SELECT id, key FROM block WHERE ino = ? ORDER BY rowid').all(ino ?? 0)
    const at = [...Array(index.rowCount).keys()].find((row) => index.nameOf(row).toString() === name)
    const from = (index.first[at ?? 0] ?? 0) * 32
    const to = from + rows.length * 32
    t.ok(index.ids.subarray(from, to).equals(Buffer.concat(rows.map((row) => row['id'] as Uint8Array))), String(name))
    t.ok(index.keys.subarray(from, to).equals(Buffer.concat(rows.map((row) => row['key'] as Uint8Array))), String(name))
  }
  database.close()
  index.close()
})
