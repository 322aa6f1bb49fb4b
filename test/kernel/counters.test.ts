import t from 'tap'
import { Counters } from '../../lib/kernel/index.ts'
import { OPCODE, OPCODE_COUNT } from '../../lib/wire/index.ts'

t.test('totals of both threads stand in one memory', async (t) => {
  const session = new Counters()
  const fetch = new Counters(session.memory)
  session.add('bytesRead', 2 ** 40)
  session.add('bytesRead', 5)
  fetch.add('errors', 1)
  t.equal(fetch.get('bytesRead'), 2 ** 40 + 5)
  t.equal(session.get('errors'), 1)
  t.equal(session.get('interrupted'), 0)
})

t.test('requests() counts by name and bounds the times', async (t) => {
  const counters = new Counters()
  t.strictSame(counters.requests(), {})
  for (let nth = 0; nth < 98; nth += 1) counters.observe(OPCODE.lookup, 3, false)
  for (const us of [1000, 1_000_000]) counters.observe(OPCODE.lookup, us, false)
  counters.observe(OPCODE.getattr, 0.2, false)
  const requests = counters.requests()
  t.strictSame(Object.keys(requests).sort(), ['GETATTR', 'LOOKUP'])
  t.strictSame(requests['GETATTR'], { count: 1, p50Us: 1, p99Us: 1 })
  t.strictSame(requests['LOOKUP'], { count: 100, p50Us: 4, p99Us: 1024 })
})

t.test('a quantile is the bound of the bucket that holds it', async (t) => {
  for (const [us, bound] of [
    [0, 1],
    [0.99, 1],
    [1, 2],
    [1.9, 2],
    [2, 4],
    [3.99, 4],
    [4, 8],
    [1_048_576, 2 ** 21],
  ] as const) {
    const counters = new Counters()
    counters.observe(OPCODE.read, us, false)
    t.equal(counters.requests()['READ']?.p50Us, bound, `${us} us`)
    t.ok(us < bound)
  }
})

t.test('what both threads answered is one count', async (t) => {
  const counters = new Counters()
  counters.observe(OPCODE.read, 2, false)
  new Counters(counters.memory).observe(OPCODE.read, 60_000, true)
  t.strictSame(counters.requests()['READ'], { count: 2, p50Us: 4, p99Us: 65_536 })
})

t.test('times and opcodes beyond the table harm no other count', async (t) => {
  const counters = new Counters()
  counters.observe(OPCODE.read, 2 ** 33, true)
  t.strictSame(counters.requests(), { READ: { count: 1, p50Us: 2 ** 31, p99Us: 2 ** 31 } }, 'over an hour')
  for (const opcode of [0, OPCODE_COUNT, OPCODE_COUNT + OPCODE.lookup, 4096, 0xffff_ffff]) {
    counters.observe(opcode, 1, false)
    counters.observe(opcode, 1, true)
  }
  t.strictSame(Object.keys(counters.requests()), ['READ'])
})
