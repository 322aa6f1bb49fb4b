import t from 'tap'
import { FlistError, type FlistErrorCode } from '../../lib/base/index.ts'
import { isSilence, isTransient, retrying, waitAfterMs } from '../../lib/store/retrying.ts'
import { Crowded, RetryAfter, storeError } from '../../lib/store/store-errors.ts'
import { CountingSource, makeBlock, NEVER } from './blocks.ts'

const block = await makeBlock(100)
const { id } = block.ref

function away(code: FlistErrorCode = 'FLIST_STORE_UNREACHABLE', cause?: Error): FlistError {
  return storeError(code, 's', 'a test says so', 'Do nothing', cause)
}

/** Fails `times` times, then has the block. */
function failing(times: number, error: FlistError): CountingSource {
  const source = new CountingSource('s', [block])
  source.behave = () => {
    if (source.gets >= times) source.behave = undefined
    return Promise.reject(error)
  }
  return source
}

void t.test('retrying() asks again until the store answers', async (t) => {
  const source = failing(2, away())
  t.ok((await retrying(source, { tries: 3, baseMs: 1 }).get(id, NEVER))?.equals(block.stored))
  t.equal(source.gets, 3)
})

void t.test('retrying() gives up after its tries, and at once on what is final', async (t) => {
  const source = failing(9, away('FLIST_TIMEOUT'))
  await t.rejects(retrying(source, { tries: 3, baseMs: 1 }).get(id, NEVER), { code: 'FLIST_TIMEOUT' })
  t.equal(source.gets, 3)
  for (const code of ['FLIST_STORE_DENIED', 'FLIST_STORE_PROTOCOL'] as const) {
    const final = failing(9, away(code))
    await t.rejects(retrying(final, { baseMs: 1 }).get(id, NEVER), { code })
    t.equal(final.gets, 1, code)
  }
  const alone = failing(9, away('FLIST_STORE_UNREACHABLE', new Crowded('failed too often')))
  await t.rejects(retrying(alone, { baseMs: 1 }).get(id, NEVER), { code: 'FLIST_STORE_UNREACHABLE' })
  t.equal(alone.gets, 1, 'who is left alone is not asked again')
})

void t.test('retrying() begins no try that would end too late', async (t) => {
  const source = failing(9, away('FLIST_STORE_UNREACHABLE', new RetryAfter('busy', 60_000)))
  await t.rejects(retrying(source, { totalMs: 30_000 }).get(id, NEVER), { code: 'FLIST_STORE_UNREACHABLE' })
  t.equal(source.gets, 1)
})

void t.test('retrying() ends with its signal, also in a pause', async (t) => {
  const source = failing(9, away('FLIST_STORE_UNREACHABLE', new RetryAfter('busy', 600_000)))
  const leaving = new AbortController()
  const got = retrying(source, { totalMs: 6_000_000 }).get(id, leaving.signal)
  await new Promise(setImmediate)
  leaving.abort()
  await t.rejects(got, { code: 'FLIST_INTERRUPTED' })
  t.equal(source.gets, 1)
})

void t.test('retrying() closes what it wraps', async (t) => {
  const source = new CountingSource('s')
  await retrying(source)[Symbol.asyncDispose]()
  t.equal(source.disposed, 1)
})

void t.test('what is silence, what may pass, and how long to wait', (t) => {
  t.ok(isSilence(away()))
  t.ok(isTransient(away('FLIST_TIMEOUT')))
  t.notOk(isSilence(away('FLIST_STORE_DENIED')))
  t.notOk(isSilence(new Error('no code')))
  t.notOk(isTransient(away('FLIST_TIMEOUT', new Crowded('it rests'))))
  t.equal(waitAfterMs(away('FLIST_STORE_UNREACHABLE', new RetryAfter('busy', 1234)), 5), 1234, 'as it asked for itself')
  for (let attempt = 0; attempt < 12; attempt += 1) {
    const ms = waitAfterMs(away(), attempt, 100, 2000)
    t.ok(ms >= 0 && ms <= Math.min(2000, 100 * 2 ** attempt), `try ${attempt}`)
  }
  t.end()
})
