import t from 'tap'
import { Breaker } from '../../lib/store/breaker.ts'

const OPTIONS = { failuresMax: 3, restMs: 50, pauseMs: 100, pauseMaxMs: 300 }

void t.test('it opens after failures in a row, and a probe heals it', async (t) => {
  let now = 1000
  const breaker = new Breaker({ ...OPTIONS, now: () => now })
  t.same([breaker.state, breaker.restMs, breaker.openForMs], ['ok', 0, 0])
  t.notOk(breaker.failed(true))
  t.same([breaker.state, breaker.restMs], ['failing', 50])
  t.ok(breaker.enter(), 'who fails may be asked')
  t.ok(breaker.answered(), 'healed')
  t.notOk(breaker.answered(), 'was well')
  for (const opened of [false, false, true, false]) t.equal(breaker.failed(true), opened)
  t.same([breaker.state, breaker.restMs], ['open', 100], 'what was under way when it opened changes nothing')
  t.notOk(breaker.enter())
  now += 100
  t.ok(breaker.enter(), 'the probe')
  t.notOk(breaker.enter(), 'one at a time')
  let woken = 0
  const waiting = [breaker.settled(), breaker.settled()].map((settled) => settled.then(() => (woken += 1)))
  breaker.failed(true)
  await Promise.all(waiting)
  t.equal(woken, 2)
  t.equal(breaker.restMs, 200, 'the pause grows')
  for (let probe = 0; probe < 3; probe += 1) {
    now += 300
    t.ok(breaker.enter())
    breaker.failed(true)
  }
  t.equal(breaker.restMs, 300, 'up to its most')
  t.equal(breaker.openForMs, 1000)
  now += 300
  t.ok(breaker.enter())
  t.ok(breaker.answered())
  t.same([breaker.state, breaker.openForMs], ['ok', 0])
  for (let nth = 0; nth < 3; nth += 1) breaker.failed(true)
  t.equal(breaker.restMs, 100, 'the next time it begins anew')
})

void t.test('who goes away makes room for another probe', async (t) => {
  let now = 0
  const breaker = new Breaker({ ...OPTIONS, now: () => now })
  for (let nth = 0; nth < 3; nth += 1) breaker.failed(true)
  now = 200
  t.ok(breaker.enter())
  const settled = breaker.settled()
  breaker.left()
  await settled
  await breaker.settled()
  t.ok(breaker.enter())
})

void t.test('a probe that is silent for long has another beside it', async (t) => {
  let now = 0
  const breaker = new Breaker({ ...OPTIONS, probeStallMs: 40, now: () => now })
  for (let nth = 0; nth < 3; nth += 1) breaker.failed(true)
  now = 200
  t.ok(breaker.enter())
  now += 39
  t.notOk(breaker.enter())
  now += 1
  t.ok(breaker.enter(), 'the second one')
  t.notOk(breaker.enter())
  breaker.failed(true)
  t.same([breaker.isProbing, breaker.state], [true, 'open'], 'the first has failed, the second is under way')
  t.notOk(breaker.enter(), 'there is a pause after it')
  const settled = breaker.settled()
  t.ok(breaker.answered())
  await settled
  t.same([breaker.isProbing, breaker.state, breaker.enter()], [false, 'ok', true])
})

void t.test('wrong answers never open it', async (t) => {
  const breaker = new Breaker(OPTIONS)
  for (let nth = 0; nth < 20; nth += 1) t.notOk(breaker.failed(false))
  t.equal(breaker.state, 'failing')
  breaker.failed(true)
  breaker.failed(true)
  breaker.failed(false)
  breaker.failed(true)
  t.equal(breaker.state, 'failing', 'a wrong answer is one, so the silence was broken')
})
