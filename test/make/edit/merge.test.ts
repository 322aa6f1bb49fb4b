import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { FlistIndex, FlWriter } from '../../../lib/flist/index.ts'
import { mergeTrees, type TreeNode } from '../../../lib/make/index.ts'
import { compiled, file, folder, writeArchive } from '../../flist/helpers.ts'

async function archive(t: Test, dir: string, name: string, fill: (writer: FlWriter) => void): Promise<FlistIndex> {
  writeArchive(join(dir, `${name}.fl`), fill)
  const index = await compiled(join(dir, `${name}.fl`), join(dir, `${name}.idx`))
  t.teardown(() => index.close())
  return index
}

function pathsOf(node: TreeNode, prefix = ''): string[] {
  return [...node.children].flatMap(([name, child]) => [
    `${prefix}${name}`,
    ...(child.isFolder ? pathsOf(child, `${prefix}${name}/`) : []),
  ])
}

t.test('mergeTrees() hides what is below, whichever of folder and whiteout comes first', async (t) => {
  const dir = t.testdir({})
  // In the order of bytes "-" is before ".wh.-", and "x" behind ".wh.x".
  const lower = await archive(t, dir, 'lower', (writer) => {
    const folders = ['-', 'other', 'x'].map((name) => writer.addInode(folder(1, name)))
    for (const ino of folders) writer.addInode(file(ino, 'old'))
  })
  const upper = await archive(t, dir, 'upper', (writer) => {
    const minus = writer.addInode(folder(1, '-'))
    for (const name of ['.wh.-', '.wh.x']) writer.addInode(file(1, name))
    const x = writer.addInode(folder(1, 'x'))
    for (const ino of [minus, x]) writer.addInode(file(ino, 'new'))
  })
  const { root } = mergeTrees([lower, upper], true)
  t.strictSame(pathsOf(root).toSorted(), ['-', '-/new', 'other', 'other/old', 'x', 'x/new'])
})
