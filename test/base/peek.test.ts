import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { linkOf, namesIn, textOf } from '../../lib/base/index.ts'

t.test('textOf(), linkOf() and namesIn() say what is there, and nothing of what is not', async (t) => {
  const dir = t.testdir({ file: 'ä\n' })
  symlinkSync('some/where', join(dir, 'link'))
  mkdirSync(join(dir, 'folder'))
  writeFileSync(join(dir, 'folder', 'one'), '')
  t.strictSame([textOf(join(dir, 'file')), textOf(join(dir, 'file'), 'utf8')], ['Ã¤\n', 'ä\n'])
  t.equal(linkOf(join(dir, 'link')), 'some/where')
  t.strictSame(namesIn(join(dir, 'folder')), ['one'])
  const gone = join(dir, 'gone')
  t.strictSame([textOf(gone), linkOf(gone), namesIn(gone)], ['', '', []])
})
