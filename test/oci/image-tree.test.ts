import t from 'tap'
import { LIMITS } from '../../lib/base/index.ts'
import { imageNames } from '../../lib/oci/image.ts'
import { ImageTree } from '../../lib/oci/image-tree.ts'
import { layerEntries } from '../../lib/oci/layer.ts'
import { entryOf, type Item, memoryLayer, type Part, tarOf } from './make-image.ts'

const NEVER = new AbortController().signal

async function merge(...layers: Part[][]): Promise<ImageTree> {
  const tree = new ImageTree()
  for (const [index, parts] of layers.entries()) {
    tree.beginLayer(index, `layer ${index + 1}`)
    for await (const { entry, number } of layerEntries(memoryLayer(tarOf(parts)), NEVER)) tree.apply(entry, number)
  }
  return tree
}

const names = (tree: ImageTree): string[] => [...imageNames(tree)].map(({ name }) => name.toString('latin1'))

t.test('ImageTree refuses what reaches outside or leads nowhere', async (t) => {
  const link = (name: string, target: string): Item => ({ name, type: 'symlink', target })
  const hard = (name: string, target: string): Item => ({ name, type: 'hardlink', target })
  const cases: [string, Part[], RegExp][] = [
    ['".." first', [{ name: '../etc/passwd' }], /leads outside/],
    ['".." within', [{ name: 'a/../../b' }], /leads outside/],
    ['".." that would stay inside', [{ name: 'a/../b' }], /leads outside/],
    ['a link above the root on the way', [link('up', '../..'), { name: 'up/x' }], /leads outside/],
    ['links in a circle', [link('a', 'b'), link('b', 'a'), { name: 'a/x' }], /too many symbolic links/],
    ['a link to itself', [link('a', 'a'), { name: 'a/x' }], /too many symbolic links/],
    ['a file on the way', [{ name: 'a' }, { name: 'a/b' }], /no folder/],
    ['a device on the way', [{ name: 'a', type: 'character' }, { name: 'a/b' }], /no folder/],
    ['a hard link to nothing', [hard('a', 'b')], /not there/],
    ['a hard link to itself', [{ name: 'a' }, hard('a', 'a')], /itself/],
    ['a hard link to a folder', [{ name: 'd', type: 'directory' }, hard('a', 'd')], /folder/],
    ['a hard link to the root', [hard('a', '/')], /not there/],
    ['a hard link outside', [{ name: 'a' }, hard('b', '../a')], /leads outside/],
    ['a hard link through a circle', [link('a', 'a'), hard('b', 'a/x')], /too many symbolic links/],
    ['a root that is a link', [link('./', '/etc')], /root/],
    ['a name that is too long', [{ name: 'x'.repeat(256) }], /255/],
    ['a link without a target', [link('a', '')], /target/],
    ['a link with a target that is too long', [link('a', 'x'.repeat(4096))], /target/],
    ['a device out of range', [{ name: 'a', type: 'block', major: 4096 }], /device/],
    ['a value that is too long', [{ name: 'a', xattrs: { 'user.x': 'x'.repeat(65_537) } }], /65536/],
    ['a whiteout of nothing', [{ name: '.wh.' }], /hides no name/],
    ['a whiteout of ".."', [{ name: 'a/.wh...' }, { name: 'a/b' }, { name: 'a/.wh...' }], /hides no name/],
  ]
  for (const [what, parts, message] of cases) {
    await t.rejects(merge(parts), { code: 'FLIST_IMAGE_DAMAGED', message }, what)
  }
  await t.rejects(merge([{ name: 'd/'.repeat(3000) }]), { code: 'FLIST_LIMIT' }, 'too deep')
})

t.test('ImageTree bounds how many attributes an image has', (t) => {
  const xattrs = Object.fromEntries(Array.from({ length: 4000 }, (_, nth) => [`user.${nth}`, '']))
  const entry = entryOf({ name: 'a', xattrs })
  const tree = new ImageTree()
  tree.beginLayer(0, 'layer 1')
  const times = LIMITS.imageXattrsMax / entry.xattrs.length
  for (let number = 0; number < times; number += 1) tree.apply(entry, number)
  t.throws(() => tree.apply(entry, times), { code: 'FLIST_LIMIT', message: /extended attributes/ })
  t.end()
})

t.test('ImageTree follows links within the tree, as programs do that unpack', async (t) => {
  const usrmerge: Part[] = [
    { name: 'usr/bin', type: 'directory' },
    { name: 'bin', type: 'symlink', target: '/usr/bin' },
  ]
  const tree = await merge(usrmerge, [{ name: 'bin/sh', data: 'x' }])
  t.strictSame(names(tree), ['bin', 'usr', 'bin', 'sh'])
  t.equal(tree.root.children?.get('bin')?.inode.type, 'symlink')
  const dangling = await merge([{ name: 'a', type: 'symlink', target: 'not/there' }, { name: 'a/x' }])
  t.strictSame(names(dangling), ['a', 'not', 'there', 'x'])
  const chain = Array.from({ length: 40 }, (_, n): Item => ({
    name: `l${n}`,
    type: 'symlink',
    target: n === 0 ? '.' : `l${n - 1}`,
  }))
  t.ok((await merge([...chain, { name: 'l39/x' }])).root.children?.has('x'), '40 links are followed')
  await t.rejects(merge([...chain, { name: 'l40', type: 'symlink', target: 'l39' }, { name: 'l40/x' }]), {
    code: 'FLIST_IMAGE_DAMAGED',
  })
})

t.test('ImageTree keeps one inode for all names of a file, also where the first goes', async (t) => {
  const tree = await merge(
    [
      { name: 'a', data: 'x' },
      { name: 'b', type: 'hardlink', target: 'a' },
    ],
    [{ name: 'a', data: 'other' }, { name: 'c', type: 'hardlink', target: 'b' }, { name: '.wh.b' }],
  )
  t.strictSame(names(tree), ['a', 'c'])
  t.match(tree.root.children?.get('c')?.inode, { layer: 0, entry: 0, size: 1 })
  t.match(tree.root.children?.get('a')?.inode, { layer: 1, entry: 0, size: 5 })
})

t.test('ImageTree leaves out what no file of Linux has, and marks of aufs', async (t) => {
  const xattrs = {
    'user.a': '1',
    'trusted.overlay.opaque': 'y',
    'user.overlay.redirect': '/x',
    'com.apple.quarantine': 'q',
  }
  const tree = await merge([{ name: 'f', xattrs }, { name: '.wh..wh.plnk' }, { name: '.wh..wh.orph/x' }])
  t.equal(tree.attributesLeftOut, 3)
  t.strictSame(
    tree.root.children?.get('f')?.inode.xattrs.map(({ name }) => name.toString()),
    ['user.a'],
  )
  t.notOk(tree.root.children?.has('.wh..wh.plnk'))
})

t.test('ImageTree goes through a folder once a layer, however many whiteouts name it', async (t) => {
  const below = Array.from({ length: 500 }, (_, n): Item => ({ name: `d/f${n}` }))
  const marks = Array.from({ length: 500 }, (): Item => ({ name: 'd/.wh..wh..opq' }))
  const tree = await merge([{ name: 'd/old' }], [...below, ...marks])
  t.equal(tree.root.children?.get('d')?.children?.size, 500)
})
