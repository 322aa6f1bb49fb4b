import t from 'tap'
import { findPath } from '../../../lib/flist/index.ts'
import { openSample } from '../../vfs/open-sample.ts'
import { ArchiveMaker, DIR, FILE } from '../../vfs/sample-archive.ts'

const LINK = 0o120777
const maker = new ArchiveMaker()
  .add('dir', DIR)
  .add('dir/sub', DIR)
  .add('dir/sub/file', FILE, { content: Buffer.from('x') })
  .link('other', 'dir/sub/file')
  .add('dir/up', LINK, { target: '../dir/./sub/' })
  .add('whole', LINK, { target: '/dir//sub/file' })
  .add('out', LINK, { target: '../../../dir' })
  .add('loop', LINK, { target: 'loop' })
  .add('dir/broken', LINK, { target: '/etc/nothing' })
const { index, row } = await openSample(t, maker)
const found = (path: string): string => findPath(index, Buffer.from(path)).path.toString()

t.test('findPath() follows names, dots and links, with the archive’s root as root', async (t) => {
  for (const path of [
    'dir/sub/file',
    '/dir/sub/file',
    './dir/../dir/sub/file',
    'dir/up/file',
    'whole',
    'out/sub/file',
    '../../../dir/up/../sub/file',
  ]) {
    t.equal(found(path), 'dir/sub/file', path)
  }
  t.equal(found(''), '')
  t.equal(found('dir/up'), 'dir/sub')
})

t.test('findPath() gives the row of the name, and of a link itself where it is told to', async (t) => {
  t.equal(findPath(index, Buffer.from('other')).row, row('other'))
  t.equal(findPath(index, Buffer.from('whole'), false).row, row('whole'))
  t.equal(findPath(index, Buffer.from('dir/up/file'), false).row, row('dir/sub/file'))
})

t.test('findPath() refuses what is not there', async (t) => {
  for (const path of ['nothing', 'dir/nothing', 'dir/sub/file/x', 'other/..']) {
    t.throws(() => found(path), { code: 'FLIST_USAGE', message: /in the archive/ }, path)
  }
  t.throws(() => found('dir/broken'), {
    message: 'Cannot find "dir/broken" in the archive: "dir/broken" is a link to "/etc/nothing"',
  })
  t.throws(() => found('loop'), { code: 'FLIST_USAGE', message: /too many links/ })
})
