import t from 'tap'
import { LIMITS } from '../../lib/base/index.ts'
import { abortError, storeError } from '../../lib/store/store-errors.ts'
import { CountingSource, NEVER } from './blocks.ts'
import { block, failing, reader } from './routed-parts.ts'

const { ref, stored, plain } = block

void t.test('who failed is asked beside after a while, and first again when it answers', async (t) => {
  const a = failing('a', 'FLIST_STORE_UNREACHABLE')
  const b = new CountingSource('b', [block])
  const routed = reader(t, [a, b], { coolDownMs: 0 })
  await routed.read(ref, NEVER)
  t.same([a.gets, b.gets], [1, 1])
  t.match(routed.stats()[0], { state: 'failing', lastError: { code: 'FLIST_STORE_UNREACHABLE' } })
  a.behave = () => new Promise(() => {})
  await routed.read(ref, NEVER)
  await routed.read(ref, NEVER)
  t.same([a.gets, b.gets], [2, 3], 'nobody waits for it, and it is asked once at a time')
  const again = reader(t, [a, b], { coolDownMs: 0 })
  a.behave = () => Promise.reject(storeError('FLIST_TIMEOUT', 'a', 'late', 'Wait'))
  await again.read(ref, NEVER)
  a.behave = undefined
  a.blocks.set(ref.id.toString('hex'), stored)
  await again.read(ref, NEVER)
  await new Promise(setImmediate)
  t.match(again.stats()[0], { state: 'ok' })
  const [gets, others] = [a.gets, b.gets]
  await again.read(ref, NEVER)
  t.same([a.gets, b.gets], [gets + 1, others])
})

/** Times of the breaker that a test need not wait for. */
const QUICK = { failuresMax: 3, pauseMs: 20, pauseMaxMs: 40 }

void t.test('a source that stays silent is left alone, and healed by a probe', async (t) => {
  const a = failing('a', 'FLIST_STORE_UNREACHABLE')
  const routed = reader(t, [a], { tries: 1, breaker: { failuresMax: 3, pauseMs: 100_000, pauseMaxMs: 100_000 } })
  for (let nth = 0; nth < 3; nth += 1) await t.rejects(routed.read(ref, NEVER), { code: 'FLIST_STORE_UNREACHABLE' })
  t.match(routed.stats()[0], { state: 'open', requests: 3 })
  await t.rejects(routed.read(ref, NEVER), { code: 'FLIST_STORE_UNREACHABLE', message: /left alone.*a test says so/ })
  t.equal(a.gets, 3, 'it is not even asked')

  const b = failing('b', 'FLIST_STORE_UNREACHABLE')
  const quick = reader(t, [b], { breaker: QUICK })
  await t.rejects(quick.read(ref, NEVER), { code: 'FLIST_STORE_UNREACHABLE' })
  t.match(quick.stats()[0], { state: 'open' })
  b.behave = undefined
  b.blocks.set(ref.id.toString('hex'), stored)
  const gets = b.gets
  const reads = await Promise.all(Array.from({ length: 20 }, () => quick.read(ref, NEVER)))
  t.ok(
    reads.every((bytes) => bytes.equals(plain)),
    'reads wait for the probe, then all go on',
  )
  t.equal(b.gets, gets + 20)
  t.match(quick.stats()[0], { state: 'ok', openForMs: 0, lastError: { message: /a test says so/ } })
})

void t.test('a source that is left alone is asked as soon as nobody else has the block', async (t) => {
  const a = failing('a', 'FLIST_STORE_UNREACHABLE')
  const b = new CountingSource('b', [block])
  const breaker = { failuresMax: 3, pauseMs: 100_000, pauseMaxMs: 100_000, restMs: 1, needMs: 50 }
  const routed = reader(t, [a, b], { breaker })
  while (routed.stats()[0]?.state !== 'open') await routed.read(ref, NEVER)
  a.behave = undefined
  a.blocks.set(ref.id.toString('hex'), stored)
  for (let nth = 0; nth < 3; nth += 1) await routed.read(ref, NEVER)
  t.match(routed.stats()[0], { state: 'open' }, 'not while there is another')
  b.blocks.set(ref.id.toString('hex'), Buffer.from('other bytes'))
  t.ok((await routed.read(ref, NEVER)).equals(plain), 'the other gives what is wrong')
  t.match(routed.stats()[0], { state: 'ok' })
  const gets = a.gets
  a.blocks.clear()
  a.behave = failing('a', 'FLIST_STORE_UNREACHABLE').behave
  await t.rejects(routed.read(ref, NEVER), { code: 'FLIST_BLOCK_CORRUPT' })
  const began = performance.now()
  await Promise.all(Array.from({ length: 30 }, () => t.rejects(routed.read(ref, NEVER))))
  const probes = Math.ceil((performance.now() - began) / 50)
  t.ok(a.gets - gets <= 3 + 1 + probes, `where it is dead all share a probe: ${a.gets - gets} in ${probes} times`)
})

void t.test('who waits for a place at a source goes elsewhere when that is left alone', async (t) => {
  const a = new CountingSource('a')
  const fail: (() => void)[] = []
  a.behave = () =>
    new Promise((_, reject) => fail.push(() => reject(storeError('FLIST_TIMEOUT', 'a', 'no answer', 'Wait'))))
  const b = new CountingSource('b', [block])
  const routed = reader(t, [a, b], { inFlightMax: 3, breaker: QUICK })
  const reads = Array.from({ length: 50 }, () => routed.read(ref, NEVER))
  while (fail.length < 3) await new Promise(setImmediate)
  for (const one of fail) one()
  t.ok((await Promise.all(reads)).every((bytes) => bytes.equals(plain)))
  t.equal(b.gets, 50)
  t.ok(a.gets <= 4, `${a.gets} asked the dead one`)
})

void t.test('a source that is silent is overtaken by the next, and asked last after that', async (t) => {
  const a = new CountingSource('a')
  let stopped = 0
  a.behave = (_, signal) =>
    new Promise((_, reject) =>
      signal.addEventListener('abort', () => {
        stopped += 1
        reject(abortError(signal, 'a'))
      }),
    )
  const b = new CountingSource('b', [block])
  const routed = reader(t, [a, b], { timeoutMs: 600_000, stallMs: 100 })
  t.ok((await routed.read(ref, NEVER)).equals(plain))
  t.same([a.gets, b.gets, stopped], [1, 1, 1], 'the silent one is told to stop')
  t.match(routed.stats(), [{ state: 'failing' }, { state: 'ok' }])
  t.ok((await routed.read(ref, NEVER)).equals(plain))
  t.same([a.gets, b.gets], [1, 2])
  const alone = reader(t, [a], { timeoutMs: 300, stallMs: 100 })
  await t.rejects(alone.read(ref, NEVER), { code: 'FLIST_TIMEOUT' })
  const leave = new AbortController()
  const both = reader(t, [a, a], { timeoutMs: 60_000, stallMs: 50 }).read(ref, leave.signal)
  setTimeout(() => leave.abort(), 150)
  await t.rejects(both, { code: 'FLIST_INTERRUPTED' })
})

void t.test('a source that answers nobody does not collect readers', async (t) => {
  const a = new CountingSource('a')
  a.behave = (_, signal) =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(abortError(signal, 'a'))))
  const b = new CountingSource('b', [block])
  const routed = reader(t, [a, b], { inFlightMax: 1, timeoutMs: 60_000, stallMs: 60_000 })
  const leave = new AbortController()
  const crowd = Array.from({ length: LIMITS.waitingPerStore + 1 }, () => routed.read(ref, leave.signal))
  const ended = Promise.allSettled(crowd)
  await new Promise((resolve) => setTimeout(resolve, LIMITS.storeStallMs + 50))
  t.ok((await routed.read(ref, NEVER)).equals(plain), 'the next one goes elsewhere at once')
  leave.abort()
  t.ok((await ended).every(({ status }) => status === 'rejected'))
})
