import { join } from 'node:path'
import t from 'tap'
import { EditTree, writeTree } from '../../../lib/make/index.ts'
import { compiled, file, folder, writeArchive } from '../../flist/helpers.ts'

t.test('writeTree() hears an interrupt before it writes a row', { timeout: 120_000 }, async (t) => {
  const dir = t.testdir({})
  writeArchive(join(dir, 'a.fl'), (writer) => {
    const folders = ['a', 'b', 'c'].map((name) => writer.addInode(folder(1, name)))
    for (const ino of folders) {
      for (let nth = 0; nth < 60_000; nth += 1) writer.addInode(file(ino, `${nth}`.padStart(5, '0')))
    }
  })
  const index = await compiled(join(dir, 'a.fl'), join(dir, 'a.idx'))
  t.teardown(() => index.close())
  const tree = new EditTree(index)
  const interrupt = new AbortController()
  setImmediate(() => interrupt.abort())
  let rows = 0
  const onRows = (): void => void (rows += 1)
  const options = {
    archive: join(dir, 'b.fl'),
    format: 'fl',
    routes: [],
    tags: new Map<string, string>(),
    onRows,
  } as const
  await t.rejects(writeTree(tree, options, interrupt.signal), { name: 'AbortError' })
  t.equal(rows, 0)
})
