import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import type { BlockSource } from '../../lib/store/port.ts'
import { makeBlock, NEVER, type TestBlock } from './blocks.ts'

/** What every block source does. `open` gets the blocks the store shall have. */
export async function storeSuite(t: Test, open: (blocks: readonly TestBlock[]) => Promise<BlockSource>): Promise<void> {
  const blocks = await Promise.all([
    makeBlock(1),
    makeBlock(4096),
    makeBlock(524_288),
    makeBlock(1000, 'v1'),
    makeBlock(524_288, 'v1'),
  ])
  const source = await open(blocks)
  await t.test('get() gives the stored bytes of each block', async (t) => {
    for (const { ref, stored } of blocks) t.ok((await source.get(ref.id, NEVER))?.equals(stored))
  })
  await t.test('get() gives undefined for a block that is not there', async (t) => {
    t.equal(await source.get(randomBytes(32), NEVER), undefined)
    t.equal(await source.get(randomBytes(16), NEVER), undefined)
  })
  await t.test('get() serves many at a time', async (t) => {
    const asked = Array.from({ length: 100 }, (_, at) => blocks[at % blocks.length]!)
    const got = await Promise.all(asked.map(({ ref }) => source.get(ref.id, NEVER)))
    t.ok(got.every((bytes, at) => bytes?.equals(asked[at]!.stored)))
  })
  await t.test('get() throws FLIST_INTERRUPTED for an aborted signal', async (t) => {
    const controller = new AbortController()
    controller.abort()
    await t.rejects(source.get(blocks[0]!.ref.id, controller.signal), { code: 'FLIST_INTERRUPTED' })
    const late = new AbortController()
    const work = source.get(blocks[2]!.ref.id, late.signal)
    late.abort()
    await t.rejects(work, { code: 'FLIST_INTERRUPTED' })
    t.ok(await source.get(blocks[2]!.ref.id, NEVER), 'and goes on afterwards')
  })
  await t.test('dispose may be called twice', async () => {
    await source[Symbol.asyncDispose]()
    await source[Symbol.asyncDispose]()
  })
}
