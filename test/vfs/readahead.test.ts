import { join } from 'node:path'
import t from 'tap'
import { FlWriter } from '../../lib/flist/index.ts'
import { FileOrder } from '../../lib/vfs/file-order.ts'
import { Readahead, type Run } from '../../lib/vfs/readahead.ts'
import { openArchive, openSample } from './open-sample.ts'
import { ArchiveMaker, FILE, noise } from './sample-archive.ts'

const BLOCK = 512 * 1024
const BIG = 12

/** `big` with 12 blocks (0 to 11), then 200 files of one small block, then `tail` with 3. */
const maker = new ArchiveMaker().add('big', FILE, { content: noise('big', BIG * BLOCK) })
for (let nth = 100; nth < 300; nth += 1) maker.add(`file-${nth}`, FILE, { content: noise(`small ${nth}`, 100) })
maker.add('tail', FILE, { content: noise('tail', 2 * BLOCK + 5) })
const { index, row } = await openSample(t, maker)
const order = new FileOrder(index)

const blocksOf = (run: Run | undefined): number => (run === undefined ? 0 : run.to - run.from + 1)

t.test('a sequential reader of one file is fetched ahead of, to its end and no further', async (t) => {
  const readahead = new Readahead(order)
  const big = row('big')
  t.equal(readahead.advance(big, 0, 0), undefined, 'one block tells nothing')
  const asked = new Set<number>()
  for (let block = 1; block < BIG; block += 1) {
    const run = readahead.advance(big, block, block)
    if (run === undefined) continue
    t.ok(run.from > block, `after block ${block}: from ${run.from}`)
    t.ok(run.to < BIG, `after block ${block}: to ${run.to}`)
    for (let ahead = run.from; ahead <= run.to; ahead += 1) {
      t.notOk(asked.has(ahead), `block ${ahead} is asked for once`)
      asked.add(ahead)
    }
  }
  t.strictSame(
    [...asked],
    Array.from({ length: BIG - 2 }, (_, nth) => nth + 2),
    'all blocks but those that were waited for',
  )
})

t.test('the window grows with the blocks read', async (t) => {
  const readahead = new Readahead(order)
  const big = row('big')
  readahead.advance(big, 0, 0)
  t.equal(blocksOf(readahead.advance(big, 1, 1)), 4)
  const next = [2, 3, 4].map((block) => blocksOf(readahead.advance(big, block, block)))
  t.ok(
    next.some((blocks) => blocks > 4),
    `then ${String(next)}`,
  )
})

t.test('reads of two blocks at once count as two', async (t) => {
  const readahead = new Readahead(order)
  t.strictSame(readahead.advance(row('big'), 0, 1), { from: 2, to: 5 })
})

t.test('a large first read from the start is answer enough, once', async (t) => {
  const readahead = new Readahead(order)
  t.strictSame(readahead.advance(row('big'), 0, 0, true), { from: 1, to: 4 })
  const elsewhere = new Readahead(order)
  t.equal(elsewhere.advance(row('file-100'), BIG, BIG, true), undefined, 'a file of one block has nothing ahead')
  t.end()
})

t.test('random reads of a large file fetch nothing ahead', async (t) => {
  const readahead = new Readahead(order)
  for (const block of [9, 3, 11, 6, 0])
    t.equal(readahead.advance(row('big'), block, block), undefined, `block ${block}`)
})

t.test('the same block again and again fetches nothing ahead', async (t) => {
  const readahead = new Readahead(order)
  for (let turn = 0; turn < 10; turn += 1) t.equal(readahead.advance(row('big'), 5, 5), undefined)
})

t.test('small files in order are fetched ahead from the third on', async (t) => {
  const readahead = new Readahead(order)
  const first = BIG
  t.equal(readahead.advance(row('file-100'), first, first), undefined)
  const second = readahead.advance(row('file-101'), first + 1, first + 1)
  t.equal(second, undefined, 'two files tell nothing: the end of a file is not crossed')
  const third = readahead.advance(row('file-102'), first + 2, first + 2)
  t.equal(third?.from, first + 3)
  t.ok(blocksOf(third) >= 4)
  let last = third?.to ?? 0
  for (let nth = 3; nth < 200; nth += 1) {
    const run = readahead.advance(order.rowOf(first + nth), first + nth, first + nth)
    if (run === undefined) continue
    t.ok(run.from > first + nth && run.from === last + 1, `run ${run.from} to ${run.to} after ${last}`)
    t.ok(run.to - (first + nth) <= 64, 'at most 64 blocks ahead')
    last = run.to
  }
  t.equal(last, order.blockCount - 1, 'up to the last block of the archive')
})

t.test('files in any order fetch nothing ahead', async (t) => {
  const readahead = new Readahead(order)
  for (const nth of [150, 3, 77, 120, 30]) {
    t.equal(readahead.advance(order.rowOf(BIG + nth), BIG + nth, BIG + nth), undefined)
  }
})

t.test('two readers at once each have their stream', async (t) => {
  const readahead = new Readahead(order)
  readahead.advance(row('big'), 0, 0)
  readahead.advance(row('tail'), BIG + 200, BIG + 200)
  t.ok(blocksOf(readahead.advance(row('big'), 1, 1)) > 0)
  t.strictSame(readahead.advance(row('tail'), BIG + 201, BIG + 201), { from: BIG + 202, to: BIG + 202 })
})

t.test('what is asked ahead is at most 16 MiB', async (t) => {
  const dir = t.testdir()
  const writer = new FlWriter(join(dir, 'huge.fl'))
  const inode = { uid: 0, gid: 0, rdev: 0, ctime: 0, mtime: 0 }
  writer.addInode({ ...inode, parent: 0, name: Buffer.from('/'), size: 0, mode: 0o040755 })
  const file = writer.addInode({ ...inode, parent: 1, name: Buffer.from('huge'), size: 512 * BLOCK, mode: FILE })
  for (let nth = 0; nth < 512; nth += 1) writer.addBlock(file, noise(`id ${nth}`, 32), noise(`key ${nth}`, 32))
  writer.finish()
  const huge = await openArchive(t, join(dir, 'huge.fl'), join(dir, 'cache'))
  const readahead = new Readahead(new FileOrder(huge.index))
  let most = 0
  let reached = 0
  for (let block = 0; block < 512; block += 1) {
    const run = readahead.advance(huge.row('huge'), block, block)
    if (run === undefined) continue
    reached = run.to
    most = Math.max(most, run.to - block)
  }
  t.equal(most, 32, '32 blocks of 512 KiB')
  t.equal(reached, 511)
})
