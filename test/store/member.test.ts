import t from 'tap'
import { Haste } from '../../lib/store/haste.ts'
import { Member } from '../../lib/store/member.ts'
import { storeError } from '../../lib/store/store-errors.ts'
import { CountingSource, makeBlock, NEVER } from './blocks.ts'

void t.test('what a store could not answer before it answered others does not count against it', async (t) => {
  const { ref, stored } = await makeBlock(100)
  const source = new CountingSource('a')
  const member = new Member(source, {
    inFlightMax: 16,
    retries: { tries: 1 },
    breaker: { failuresMax: 3 },
    log: undefined,
  })
  const get = (): Promise<Buffer | undefined> => member.get(ref.id, new Haste(true), false, NEVER)
  const late: (() => void)[] = []
  const late5 = (): Promise<Buffer | undefined>[] => {
    source.behave = () =>
      new Promise((_resolve, reject) => late.push(() => reject(storeError('FLIST_TIMEOUT', 'a', 'late', 'Wait'))))
    return Array.from({ length: 5 }, get)
  }
  const silent = late5()
  source.behave = () => Promise.resolve(stored)
  t.ok((await get())?.equals(stored), 'it is well again')
  for (const end of late.splice(0)) end()
  for (const request of silent) await t.rejects(request, { code: 'FLIST_TIMEOUT' })
  t.match(member.stats(), { state: 'ok', failures: 5, lastError: { code: 'FLIST_TIMEOUT' } })
  const silentAgain = late5()
  for (const end of late.splice(0)) end()
  for (const request of silentAgain) await t.rejects(request, { code: 'FLIST_TIMEOUT' })
  t.match(member.stats(), { state: 'open', failures: 10 }, 'nobody was answered since')
})

void t.test('a probe that was sent before the store came back keeps nobody from it', async (t) => {
  const { ref, stored } = await makeBlock(100)
  const source = new CountingSource('a')
  const breaker = { failuresMax: 1, pauseMs: 1, pauseMaxMs: 1, probeStallMs: 20 }
  const member = new Member(source, { inFlightMax: 16, retries: { tries: 1 }, breaker, log: undefined })
  const get = (): Promise<Buffer | undefined> => member.get(ref.id, new Haste(true), false, NEVER)
  source.behave = () => Promise.reject(storeError('FLIST_TIMEOUT', 'a', 'late', 'Wait'))
  await t.rejects(get(), { code: 'FLIST_TIMEOUT' })
  while (member.breaker.restMs > 0) await new Promise(setImmediate)
  const probe = Promise.withResolvers<Buffer>()
  source.behave = () => probe.promise
  const silent = get()
  t.ok(member.breaker.isProbing)
  source.behave = () => Promise.resolve(stored)
  const others = await Promise.all(Array.from({ length: 5 }, get))
  t.ok(
    others.every((each) => each?.equals(stored)),
    'they waited for a moment, then asked themselves',
  )
  t.match(member.stats(), { state: 'ok' })
  probe.reject(storeError('FLIST_TIMEOUT', 'a', 'late', 'Wait'))
  await t.rejects(silent, { code: 'FLIST_TIMEOUT' })
  t.match(member.stats(), { state: 'ok' }, 'what it could not do then says nothing of now')
})
