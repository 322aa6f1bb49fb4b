import { createHash } from 'node:crypto'
import t from 'tap'
import { KeySet } from '../../../lib/flist/index.ts'

const key = (of: number): Buffer => createHash('sha256').update(String(of)).digest()

t.test('a KeySet numbers keys as they come, and knows them in whatever source they stand', async (t) => {
  const count = 5000
  const set = new KeySet(32)
  const first = Buffer.concat(Array.from({ length: count }, (_, nth) => key(nth)))
  set.add(first, (nth, isNew, number) => {
    if (!isNew || number !== nth) t.fail(`key ${nth} is new`)
  })
  const second = Buffer.concat([key(7), key(count), key(7), key(count)])
  const seen: (boolean | number)[][] = []
  set.add(second, (...words) => seen.push(words))
  t.strictSame(seen, [
    [0, false, 7],
    [1, true, count],
    [2, false, 7],
    [3, false, count],
  ])
  t.equal(set.size, count + 1)
  t.ok(set.has(key(4999)))
  t.notOk(set.has(key(-1)))
})

t.test('keys that share their beginning are still told apart', async (t) => {
  const set = new KeySet(16)
  const keys = Buffer.alloc(16 * 1000)
  for (let nth = 0; nth < 1000; nth += 1) keys.writeUInt32BE(nth, nth * 16 + 12)
  set.add(keys, () => undefined)
  t.equal(set.size, 1000)
})
