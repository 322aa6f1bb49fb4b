import t from 'tap'
import { ERRNO } from '../../../lib/base/index.ts'
import { LateReads } from '../../../lib/kernel/fuse-native/late-reads.ts'

const reply = (lo: number, text: string, errno = 0) => ({ lo, hi: 0, errno, content: Buffer.from(text) })

t.test('each read is ended once, by its own reply', async (t) => {
  const late = new LateReads(undefined)
  const ends: [string, number][] = []
  const [a, b, c] = ['a', 'b', 'c'].map((name) => {
    const out = Buffer.alloc(8)
    return { out, nth: late.begin(out, (result) => ends.push([name, result])) }
  })
  if (a === undefined || b === undefined || c === undefined) throw new Error('three')
  late.reply(reply(b.nth, 'bytes'))
  late.reply(reply(b.nth, 'again'))
  late.reply(reply(a.nth, '', ERRNO.EIO))
  late.reply(reply(1000, 'nobody'))
  t.equal(b.out.toString('latin1', 0, 5), 'bytes')
  t.strictSame(ends, [
    ['b', 5],
    ['a', -ERRNO.EIO],
  ])
  late.failAll()
  late.failAll()
  late.reply(reply(c.nth, 'late'))
  t.strictSame(ends.slice(2), [['c', -ERRNO.EIO]])
  t.ok(c.out.equals(Buffer.alloc(8)), 'nothing is written into memory that is libfuse’s again')
})

t.test('a read that nobody answers ends', async (t) => {
  const late = new LateReads(1)
  t.equal(await new Promise((done) => late.begin(Buffer.alloc(1), done)), -ERRNO.EIO)
})
