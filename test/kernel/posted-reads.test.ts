import t from 'tap'
import { POSTED_BYTES, PostedReads } from '../../lib/kernel/index.ts'

t.test('PostedReads has each read until one side answers it', async (t) => {
  const memory = new SharedArrayBuffer(POSTED_BYTES)
  const session = new PostedReads(memory)
  const thread = new PostedReads(memory)
  const one = session.keep(2, 1, 7, 2 ** 40 + 3, 4096, 0)
  const two = session.keep(4, 1, 8, 0, 1, 5)
  const read = { slot: one, lo: 2, hi: 1, row: 7, offset: 2 ** 40 + 3, bytes: 4096 }
  t.strictSame(session.left(4), [read], 'asked for at 4 or before')
  t.equal(session.left().length, 2)
  thread.clear(two)
  t.notOk(session.refuse(two), 'the thread was first')
  t.ok(session.refuse(one))
  t.strictSame([session.left(), session.count()], [[], { asked: 0, refused: 1 }])
  t.not(session.keep(6, 1, 7, 0, 1, 6), one, 'the thread may come to it')
  thread.clear(one)
  t.strictSame(session.count(), { asked: 1, refused: 0 })
})

t.test('PostedReads has room for all that the kernel has on its way, and says where there is none', async (t) => {
  const reads = new PostedReads(new SharedArrayBuffer(POSTED_BYTES))
  const slots = Array.from({ length: 8192 }, (_, nth) => reads.keep(nth, 0, 0, 0, 1, 0))
  t.equal(new Set(slots).size, 8192)
  t.equal(reads.keep(0, 0, 0, 0, 1, 0), -1)
  reads.clear(-1)
  reads.clear(4000)
  t.equal(reads.keep(9, 0, 0, 0, 1, 3), 4000)
  reads.renew(4000, 8)
  t.equal(reads.left(7).length, 8191)
  t.ok(reads.refuse(5))
  reads.release(true)
  t.strictSame(reads.count(), { asked: 8191, refused: 0 }, 'those that were refused are done with')
  reads.release(false)
  t.strictSame(reads.count(), { asked: 0, refused: 0 })
})
