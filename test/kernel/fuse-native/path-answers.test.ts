import t from 'tap'
import { ERRNO } from '../../../lib/base/index.ts'
import { PathAnswers } from '../../../lib/kernel/fuse-native/path-answers.ts'
import { Tree } from '../../../lib/vfs/index.ts'
import { openSample } from '../../vfs/open-sample.ts'
import { ArchiveMaker, DIR, FILE } from '../../vfs/sample-archive.ts'

t.test('find() knows names that are no text by their text, and no other', async (t) => {
  const content = Buffer.from('x')
  const maker = new ArchiveMaker()
    .add('a', DIR)
    .add('a/\xff', FILE, { content })
    .add('b', DIR)
    .add('b/\xff', FILE, { content })
    .add('b/\xfe', DIR)
    .add('b/\xfe/below', FILE, { content })
    .add('c', DIR)
    // A name that is U+FFFD itself.
    .add(`c/${Buffer.from('\uFFFD').toString('latin1')}`, FILE, { content })
    .add('c/\xff', FILE, { content })
    .add('d\xff', DIR)
    .add('d\xff/below', FILE, { content })
  const { index, row } = await openSample(t, maker)
  const answers = new PathAnswers(new Tree(index))
  const found = (path: string): string => index.pathOf(answers.find(path)).toString('latin1')
  t.equal(answers.find('/'), 0)
  t.equal(answers.find('/a'), row('a'))
  t.match(found('/a/\uFFFD'), /a\/\xff$/)
  t.match(found('/d\uFFFD/below'), /d\xff\/below$/)
  t.equal(answers.find('/b/\uFFFD'), -ERRNO.EILSEQ, 'two names, one text')
  t.equal(answers.find('/b/\uFFFD/below'), -ERRNO.EILSEQ)
  t.equal(answers.find('/c/\uFFFD'), -ERRNO.EILSEQ, 'which may be the text itself')
  t.equal(answers.find('/a/\uFFFD\uFFFD'), -ERRNO.ENOENT)
  t.equal(answers.find('/nothing/\uFFFD'), -ERRNO.ENOENT)
  t.equal(answers.find('/a/\uFFFD/below'), -ERRNO.ENOTDIR)
  t.equal(answers.find('/a/\uFFFD/\uFFFD'), -ERRNO.ENOTDIR)
})

t.test('stat() gives times in milliseconds, and none before 1970', async (t) => {
  const maker = new ArchiveMaker()
    .add('old', FILE, { mtime: -1, mtimeNs: 999_000_000, ctime: -2_147_483_649 })
    .add('now', FILE, { mtime: 5, mtimeNs: 6_999_999, ctime: 8_589_934_592, ctimeNs: 1_000_000 })
  const { index, row } = await openSample(t, maker)
  const answers = new PathAnswers(new Tree(index))
  t.match(answers.stat(row('old')), { mtime: 0, atime: 0, ctime: 0 })
  t.match(answers.stat(row('now')), { mtime: 5006, atime: 5006, ctime: 8_589_934_592_001 })
})

t.test('list() and target() of what is neither', async (t) => {
  const maker = new ArchiveMaker()
    .add('file', FILE)
    .add('dir', DIR)
    .add('link', 0o120777, { target: Buffer.of(0x61, 0xff) })
  const { index, row } = await openSample(t, maker)
  const answers = new PathAnswers(new Tree(index))
  t.equal(answers.list(row('file')), -ERRNO.ENOTDIR)
  t.match(answers.list(row('dir')), { names: ['.', '..'], stats: [{ ino: row('dir') + 1 }, { ino: 1 }] })
  t.equal(answers.target(row('file')), -ERRNO.EINVAL)
  t.equal(answers.target(row('link')), -ERRNO.EILSEQ)
})
