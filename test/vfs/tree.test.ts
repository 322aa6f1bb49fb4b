import t from 'tap'
import { ERRNO } from '../../lib/base/index.ts'
import { Tree } from '../../lib/vfs/index.ts'
import { openSample } from './open-sample.ts'
import { ArchiveMaker, DIR, FILE } from './sample-archive.ts'

const maker = new ArchiveMaker()
  .add('dir', DIR)
  .add('dir/sub', DIR)
  .add('file', FILE, { content: Buffer.alloc(4097, 1), xattrs: [{ name: Buffer.from('user.a'), value: Buffer.of(1) }] })
  .link('other', 'file')
  .add('link', 0o120777, { target: 'dir' })
const { index, row } = await openSample(t, maker)
const tree = new Tree(index)

function lookup(from: number, name: string): number {
  // Between other bytes: only the range counts.
  const bytes = Buffer.from(`x${name}y`)
  return tree.lookup(from, bytes, 1, bytes.length - 1)
}

t.test('rowOf() gives rows for the ids of this archive only', async (t) => {
  t.equal(tree.rowOf(1, 0), 0)
  t.equal(tree.rowOf(index.rowCount, 0), index.rowCount - 1)
  for (const [lo, hi] of [
    [0, 0],
    [index.rowCount + 1, 0],
    [1, 1],
    [0xffff_ffff, 0xffff_ffff],
  ] as const) {
    t.equal(tree.rowOf(lo, hi), -ERRNO.ESTALE)
  }
})

t.test('lookup() by name, by dots, and what is not there', async (t) => {
  t.equal(lookup(0, 'dir'), row('dir'))
  t.equal(lookup(row('dir'), 'sub'), row('dir/sub'))
  t.equal(lookup(row('dir/sub'), '.'), row('dir/sub'))
  t.equal(lookup(row('dir/sub'), '..'), row('dir'))
  t.equal(lookup(0, '..'), 0)
  t.equal(lookup(row('file'), '.'), row('file'), 'a file handle of a file')
  t.equal(lookup(row('file'), '/'), row('file'), 'the name of what is known by its handle only')
  for (const name of ['', 'di', 'dirr', '...', '.x', 'sub', 'z', '\0']) t.equal(lookup(0, name), -ERRNO.ENOENT, name)
  t.equal(lookup(row('file'), 'x'), -ERRNO.ENOTDIR)
  t.equal(lookup(row('link'), 'sub'), -ERRNO.ENOTDIR, 'links are followed by the kernel')
  t.equal(lookup(0, 'x'.repeat(255)), -ERRNO.ENOENT)
  t.equal(lookup(0, 'x'.repeat(256)), -ERRNO.ENAMETOOLONG)
})

t.test('readlink() copies the target', async (t) => {
  const out = Buffer.alloc(10, '-')
  t.equal(tree.readlink(row('link'), out, 2), 3)
  t.equal(out.toString(), '--dir-----')
  t.equal(tree.readlink(row('file'), out, 0), -ERRNO.EINVAL)
})

t.test('extended attributes are those of the inode, by each of its names', async (t) => {
  for (const name of ['file', 'other']) {
    t.strictSame(tree.xattr(row(name), Buffer.from('user.a')), Buffer.of(1))
    t.equal(tree.xattr(row(name), Buffer.from('user')), undefined)
    t.equal(tree.xattrNames(row(name)).toString(), 'user.a\0')
  }
  t.equal(tree.xattrNames(row('dir')).length, 0)
})

t.test('totals() count inodes and content once', async (t) => {
  t.strictSame(tree.totals(), { blocks: 2, blockBytes: 4096, files: 5 })
})
