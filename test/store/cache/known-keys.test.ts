import { createHash } from 'node:crypto'
import t from 'tap'
import { KnownKeys, type KeyTable } from '../../../lib/store/cache/known-keys.ts'
import { blocks, openCache } from './helpers.ts'

class Table implements KeyTable {
  readonly keys: Buffer[] = []
  version = 1
  reads = 0

  dataVersion(): number {
    return this.version
  }

  keysAfter(key: Uint8Array, count: number): Uint8Array[] {
    this.reads += 1
    return this.keys
      .toSorted((a, b) => Buffer.compare(a, b))
      .filter((one) => Buffer.compare(one, key) > 0)
      .slice(0, count)
  }
}

function keyOf(nth: number): Buffer {
  return createHash('sha256').update(String(nth)).digest()
}

const tick = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 3))

void t.test('an empty table lacks every key, but for those that are added', async (t) => {
  const known = new KnownKeys(new Table())
  t.notOk(known.lacks(keyOf(1)), 'nothing is known before it learned')
  known.add(keyOf(1))
  known.learn()
  t.ok(known.lacks(keyOf(2)))
  known.add(keyOf(2))
  t.notOk(known.lacks(keyOf(2)))
})

void t.test('learns what is there, in steps', async (t) => {
  const table = new Table()
  for (let nth = 0; nth < 5000; nth += 1) table.keys.push(keyOf(nth))
  const known = new KnownKeys(table)
  known.learn()
  t.notOk(known.lacks(keyOf(6000)), 'not all keys are known')
  known.learn()
  t.ok(known.lacks(keyOf(6000)))
  t.notOk(table.keys.some((key) => known.lacks(key)))
  let lacking = 0
  for (let nth = 10_000; nth < 20_000; nth += 1) if (known.lacks(keyOf(nth))) lacking += 1
  t.ok(lacking > 9950, `${lacking} of 10,000 that are absent`)
  known.learn()
  t.equal(table.reads, 2, 'it has ended')
})

void t.test('says nothing once somebody else has written', async (t) => {
  const table = new Table()
  const known = new KnownKeys(table)
  known.learn()
  t.ok(known.lacks(keyOf(1)))
  table.version += 1
  await tick()
  t.notOk(known.lacks(keyOf(1)))
  known.add(keyOf(1))
  known.learn()
  t.notOk(known.lacks(keyOf(2)), 'and does not begin again')
})

void t.test('says nothing where somebody wrote while it learned, or there are too many keys', async (t) => {
  const table = new Table()
  for (let nth = 0; nth < 5000; nth += 1) table.keys.push(keyOf(nth))
  const known = new KnownKeys(table)
  known.learn()
  table.version += 1
  known.learn()
  t.notOk(known.lacks(keyOf(6000)))
  const endless = new KnownKeys({ dataVersion: () => 1, keysAfter: (_, count) => table.keys.slice(0, count) })
  for (let step = 0; step < 60; step += 1) endless.learn()
  t.notOk(endless.lacks(keyOf(6000)))
})

void t.test(
  'a cache that learned it is empty finds what another connection writes, and what it writes itself',
  async (t) => {
    const dir = t.testdir()
    const [ours, other] = [await openCache(dir), await openCache(dir)]
    const known = await blocks('learned', 3)
    const [first, second, third] = known.map(({ ref, plain }) => ({ ref, plain }))
    const keys = Buffer.concat(known.map(({ ref }) => ref.key))
    const lookUp = (): number => ours.findMany(keys, 32, 0, 3, () => undefined)
    t.equal(lookUp(), 0)
    ours.put(first!.ref, first!.plain)
    ours.flush()
    t.equal(lookUp(), 1)
    other.put(second!.ref, second!.plain)
    other.flush()
    await tick()
    t.not(ours.find(second!.ref.key), undefined)
    t.equal(ours.find(third!.ref.key), undefined)
    t.equal(lookUp(), 2)
    await ours.close()
    await other.close()
  },
)
