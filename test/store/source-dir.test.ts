import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { LIMITS } from '../../lib/base/index.ts'
import { openSource } from '../../lib/store/open.ts'
import { DirSource } from '../../lib/store/source-dir.ts'
import { makeBlock, NEVER, type TestBlock } from './blocks.ts'
import { storeSuite } from './store-suite.ts'

function put(root: string, { ref, stored }: TestBlock, flat: boolean): string {
  const hex = ref.id.toString('hex')
  const path = flat ? join(root, hex) : join(root, hex.slice(0, 2), hex)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, stored)
  return path
}

for (const flat of [false, true]) {
  void t.test(`dir store, ${flat ? 'flat' : 'sharded'}`, async (t) => {
    const root = t.testdir()
    await storeSuite(t, async (blocks) => {
      for (const block of blocks) put(root, block, flat)
      return openSource(`dir://${root}`, { baseDir: '/' })
    })
  })
}

void t.test('a relative folder begins at the base, and layouts may be mixed', async (t) => {
  const root = t.testdir({ store: {} })
  const blocks = await Promise.all([makeBlock(10), makeBlock(20), makeBlock(30, 'v1')])
  blocks.forEach((block, at) => put(join(root, 'store'), block, at % 2 === 0))
  await using source = await openSource('dir:store', { baseDir: root })
  for (const { ref, stored } of [...blocks, ...blocks]) t.ok((await source.get(ref.id, NEVER))?.equals(stored))
})

void t.test('what is no block is refused', async (t) => {
  const root = t.testdir()
  const source = new DirSource('dir:test', root)
  const { ref, stored } = await makeBlock(100)
  const hex = ref.id.toString('hex')
  const path = join(root, hex)
  mkdirSync(path)
  await t.rejects(source.get(ref.id, NEVER), { code: 'FLIST_STORE_PROTOCOL', message: /regular file/ })
  execFileSync('rmdir', [path])
  execFileSync('mkfifo', [path])
  await t.rejects(
    source.get(ref.id, NEVER),
    { code: 'FLIST_STORE_PROTOCOL', message: /regular file/ },
    'a FIFO does not block',
  )
  execFileSync('rm', [path])
  writeFileSync(path, '')
  await t.rejects(source.get(ref.id, NEVER), { code: 'FLIST_STORE_PROTOCOL', message: /empty/ })
  writeFileSync(path, Buffer.alloc(LIMITS.storedBlockBytesMax + 1))
  await t.rejects(source.get(ref.id, NEVER), { code: 'FLIST_STORE_PROTOCOL', message: /too large/ })
  execFileSync('rm', [path])
  writeFileSync(join(root, 'real'), stored)
  symlinkSync('real', path)
  t.ok((await source.get(ref.id, NEVER))?.equals(stored), 'a link to a block is a block')
})

void t.test('a missing folder is not a missing block', async (t) => {
  const root = t.testdir({ file: 'x' })
  const { ref } = await makeBlock(1)
  await t.rejects(new DirSource('dir:a', join(root, 'none')).get(ref.id, NEVER), { code: 'FLIST_STORE_UNREACHABLE' })
  await t.rejects(new DirSource('dir:a', join(root, 'file')).get(ref.id, NEVER), { code: 'FLIST_STORE_PROTOCOL' })
})

void t.test(
  'a folder nobody may read is denied',
  { skip: process.getuid?.() === 0 && 'root may read everything' },
  async (t) => {
    const root = t.testdir()
    const block = await makeBlock(10)
    chmodSync(put(root, block, true), 0)
    await t.rejects(new DirSource('dir:a', root).get(block.ref.id, NEVER), { code: 'FLIST_STORE_DENIED' })
  },
)
