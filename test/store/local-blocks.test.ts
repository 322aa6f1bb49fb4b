import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { LocalBlocks, localRoutes } from '../../lib/store/local-blocks.ts'
import { makeBlock, type TestBlock } from './blocks.ts'

const small = await makeBlock(4096)
const large = await makeBlock(524_288)
const v1 = await makeBlock(5000, 'v1')

/** Puts a block where rfs puts it. Returns the path. */
function put(root: string, { ref, stored }: TestBlock): string {
  const hex = ref.id.toString('hex')
  mkdirSync(join(root, hex.slice(0, 2)), { recursive: true })
  const path = join(root, hex.slice(0, 2), hex)
  writeFileSync(path, stored)
  return path
}

function read(blocks: LocalBlocks, { ref }: TestBlock): Buffer | undefined {
  const fd = blocks.open(ref.id)
  return fd < 0 ? undefined : blocks.take(fd, ref)
}

function only(folder: string): LocalBlocks {
  return new LocalBlocks([{ start: 0, end: 255, folder }])
}

void t.test('localRoutes() tells folders of this machine from what must be waited for', async (t) => {
  const dir = t.testdir({ store: {} })
  const all = { start: 0, end: 255 }
  t.strictSame(await localRoutes([{ ...all, url: 'dir:store' }], dir), [{ ...all, folder: join(dir, 'store') }])
  const away = { start: 0, end: 127, url: 'zdb://127.0.0.1:1/ns' }
  const here = { start: 128, end: 255, url: `dir://${dir}/store` }
  t.strictSame(await localRoutes([away, here], '/'), [
    { start: 0, end: 127, folder: undefined },
    { start: 128, end: 255, folder: join(dir, 'store') },
  ])
  t.equal(await localRoutes([away], dir), undefined, 'none is here')
  t.equal(await localRoutes([{ ...all, url: 'dir:nowhere' }], dir), undefined, 'a folder that is not there')
  t.equal(await localRoutes([{ ...all, url: 'dir:///proc' }], dir), undefined, 'no disk')
  t.equal(await localRoutes([{ ...all, url: 'no url' }], dir), undefined, 'its reader says what is wrong')
})

void t.test('take() gives checked blocks of both layouts and formats', async (t) => {
  const root = t.testdir({})
  for (const block of [small, large, v1]) put(root, block)
  using blocks = only(root)
  for (const block of [small, large, v1, small]) t.ok(read(blocks, block)?.equals(block.plain))
  for (const block of [small, v1]) {
    const hex = block.ref.id.toString('hex')
    renameSync(join(root, hex.slice(0, 2), hex), join(root, hex))
  }
  for (const block of [small, v1, large, small]) t.ok(read(blocks, block)?.equals(block.plain), 'flat, or not')
})

void t.test('open() and take() give nothing that is not surely the block', async (t) => {
  const dir = t.testdir({ store: {}, elsewhere: {} })
  const root = join(dir, 'store')
  const path = put(root, small)
  using blocks = only(root)
  t.equal(read(blocks, large), undefined, 'not there')
  appendFileSync(path, 'x')
  t.equal(read(blocks, small), undefined, 'damaged')
  for (const content of ['', Buffer.alloc(700_000)]) {
    writeFileSync(path, content)
    t.equal(read(blocks, small), undefined, `${content.length} bytes`)
  }
  rmSync(path)
  symlinkSync(put(join(dir, 'elsewhere'), small), path)
  t.equal(read(blocks, small), undefined, 'a link')
  rmSync(path)
  mkdirSync(path)
  t.equal(read(blocks, small), undefined, 'a folder')
  const hex = large.ref.id.toString('hex').slice(0, 2)
  put(join(dir, 'elsewhere'), large)
  rmSync(join(root, hex), { recursive: true, force: true })
  symlinkSync(join(dir, 'elsewhere', hex), join(root, hex))
  t.equal(read(blocks, large), undefined, 'a folder that is a link')
})

void t.test('open() asks in the order of the routes, and nobody behind a store that is elsewhere', async (t) => {
  const dir = t.testdir({ one: {}, two: {} })
  put(join(dir, 'two'), small)
  const [one, two] = ['one', 'two'].map((name) => ({ start: 0, end: 255, folder: join(dir, name) }))
  const away = { start: 0, end: 255, folder: undefined }
  const first = small.ref.id[0]!
  using both = new LocalBlocks([one!, two!])
  t.ok(read(both, small)?.equals(small.plain))
  using behind = new LocalBlocks([one!, away, two!])
  t.equal(read(behind, small), undefined)
  using other = new LocalBlocks([{ ...two!, start: (first + 1) % 256, end: (first + 1) % 256 }])
  t.equal(read(other, small), undefined, 'not its route')
  using gone = new LocalBlocks([{ ...one!, folder: join(dir, 'three') }])
  t.equal(read(gone, small), undefined, 'the folder went away')
})
