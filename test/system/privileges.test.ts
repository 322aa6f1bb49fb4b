import { closeSync } from 'node:fs'
import t from 'tap'
import { KnownIds, mayMount, receiveDescriptor, socketPair } from '../../lib/system/index.ts'

t.test('KnownIds says which ids a namespace has names for', async (t) => {
  const whole = '         0          0 4294967295\n'
  t.equal(new KnownIds(whole, whole).all, true)
  t.equal(new KnownIds('', '').has(70_000, 4_294_967_294), true, 'no namespaces: every id')
  const one = '         0       1000          1\n'
  t.equal(new KnownIds(whole, one).all, false)
  t.equal(new KnownIds(one, one).has(0, 0), true)
  t.equal(new KnownIds(one, one).has(0, 1), false)
  const two = new KnownIds('0 1000 1\n1 100000 65536\n', one)
  t.equal(two.has(65_536, 0), true)
  t.equal(two.has(65_537, 0), false)
})

t.test('mayMount() is true for root', { skip: process.getuid?.() !== 0 && 'needs root' }, async (t) => {
  t.equal(mayMount(), true)
})

t.test('receiveDescriptor() does not wait for one that was not sent', async (t) => {
  const [ours, theirs] = socketPair()
  t.teardown(() => [ours, theirs].forEach((fd) => closeSync(fd)))
  t.equal(receiveDescriptor(ours), undefined)
})
