import t from 'tap'
import { WaitLog } from '../../lib/kernel/index.ts'
import { LIMITS } from '../../lib/base/index.ts'
import { only } from '../only.ts'

t.test('top() has the files waited for most', async (t) => {
  const log = new WaitLog()
  const first = log.begin(7, 0, 10)
  const second = log.begin(7, 10, 10)
  t.strictSame(log.waiting(), [first, second])
  log.end({ ...first, started: first.started - 500 })
  log.end(second)
  log.end(log.begin(8, 0, 1))
  t.match(only(log.top(1)), { row: 7, waits: 2 })
  t.equal(log.top(5).length, 2)
  const seven = log.of(7)
  t.ok(seven !== undefined && seven.worstMs >= 500 && seven.totalMs >= seven.worstMs)
  t.equal(log.of(9), undefined)
})

t.test('files waited for least are forgotten, errors too', async (t) => {
  const log = new WaitLog(8)
  for (let row = 0; row < 100; row += 1) {
    const wait = log.begin(row, 0, 1)
    log.end({ ...wait, started: wait.started - (row === 3 ? 10_000 : 1) })
    t.ok(log.top(100).length <= 8)
  }
  t.match(only(log.top(1)), { row: 3 })
  for (let nth = 0; nth < LIMITS.readErrorsMax + 5; nth += 1) log.failed(nth === 0 ? 1 : 2, 'FLIST_TIMEOUT', `${nth}`)
  t.strictSame(log.errorsOf(1), [])
  t.equal(log.errorsOf(2).length, LIMITS.readErrorsMax)
  t.match(log.errorsOf(2).at(-1), { message: String(LIMITS.readErrorsMax + 4) })
})
