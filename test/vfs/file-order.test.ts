import t from 'tap'
import { plainBytes } from '../../lib/vfs/block-of-file.ts'
import { FileOrder } from '../../lib/vfs/file-order.ts'
import { openSample } from './open-sample.ts'
import { ArchiveMaker, DIR, FILE, noise } from './sample-archive.ts'

const BLOCK = 512 * 1024

t.test('FileOrder finds the file of each block', async (t) => {
  const maker = new ArchiveMaker()
    .add('b', FILE, { content: noise('b', 2 * BLOCK + 1) })
    .add('dir', DIR)
    .add('dir/inside', FILE, { content: noise('inside', 10) })
    .add('empty', FILE)
    .add('link', 0o120777, { target: 'b' })
    .add('a', FILE, { content: noise('a', BLOCK) })
    .link('z', 'b')
  const { index, row } = await openSample(t, maker)
  const order = new FileOrder(index)
  t.equal(order.blockCount, 5)
  const names = Array.from({ length: 5 }, (_, block) => index.pathOf(order.rowOf(block)).toString())
  t.strictSame(names, ['a', 'b', 'b', 'b', 'dir/inside'])
  t.strictSame(
    [0, 1, 2, 3, 4].map((block) => order.plainBytesOf(block)),
    [BLOCK, BLOCK, BLOCK, 1, 10],
  )
  t.equal(order.endOf(row('b')), 4)
  t.equal(order.rowOf(5), -1)
  t.equal(order.plainBytesOf(5), 0)
  t.equal(plainBytes(index, row('b'), 2), 1)
  t.equal(index.first[row('z')], index.first[row('b')], 'another name of a file has its blocks')
})

t.test('FileOrder of an archive without content', async (t) => {
  const { index } = await openSample(t, new ArchiveMaker().add('empty', FILE))
  t.equal(new FileOrder(index).rowOf(0), -1)
})
