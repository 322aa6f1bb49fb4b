import t from 'tap'
import { bounded, withDeadline } from '../../lib/store/deadline.ts'
import { pause, untilAbort } from '../../lib/store/wait.ts'
import { CountingSource, makeBlock, NEVER } from './blocks.ts'

const block = await makeBlock(100)
const keepAlive = setInterval(() => {}, 1000)
t.teardown(() => clearInterval(keepAlive))

void t.test('bounded() passes on what its work gives', async (t) => {
  const late = (): Error => new Error('late')
  t.equal(await bounded(async () => 7, 60_000, late, 'all', NEVER), 7)
  await t.rejects(
    bounded(() => Promise.reject(new Error('broken')), 60_000, late, 'all', NEVER),
    /broken/,
  )
})

void t.test('bounded() ends what does not hear, and tells it', async (t) => {
  let told: unknown
  const deaf = (signal: AbortSignal): Promise<number> => {
    signal.addEventListener('abort', () => (told = signal.reason))
    return new Promise(() => {})
  }
  const late = new Error('late')
  await t.rejects(
    bounded(deaf, 1, () => late, 'all', NEVER),
    late,
  )
  t.equal(told, late)
  const leaving = new AbortController()
  const left = bounded(deaf, 60_000, () => late, 'all', leaving.signal)
  leaving.abort()
  await t.rejects(left, { code: 'FLIST_INTERRUPTED' })
  t.match(told, { code: 'FLIST_INTERRUPTED' })
  await t.rejects(
    bounded(
      async () => 7,
      60_000,
      () => late,
      'all',
      leaving.signal,
    ),
    { code: 'FLIST_INTERRUPTED' },
    'nothing begins after it',
  )
})

void t.test('withDeadline() bounds a source', async (t) => {
  const source = new CountingSource('deaf', [block])
  t.ok((await withDeadline(source, 60_000).get(block.ref.id, NEVER))?.equals(block.stored))
  source.behave = () => new Promise(() => {})
  await t.rejects(withDeadline(source, 1).get(block.ref.id, NEVER), { code: 'FLIST_TIMEOUT', message: /"deaf"/ })
  await withDeadline(source, 1)[Symbol.asyncDispose]()
  t.equal(source.disposed, 1)
})

void t.test('untilAbort() and pause() end with their signal', async (t) => {
  t.equal(await untilAbort(Promise.resolve(7), 's', NEVER), 7)
  await t.rejects(untilAbort(Promise.reject(new Error('broken')), 's', NEVER), /broken/)
  await pause(1, 's', NEVER)
  const leaving = new AbortController()
  const waits = [untilAbort(new Promise(() => {}), 's', leaving.signal), pause(6_000_000, 's', leaving.signal)]
  leaving.abort()
  for (const wait of waits) await t.rejects(wait, { code: 'FLIST_INTERRUPTED' })
  // A failure that nobody waits for any more is nobody's: it must not end the process.
  await t.rejects(untilAbort(Promise.reject(new Error('unheard')), 's', leaving.signal), { code: 'FLIST_INTERRUPTED' })
  await t.rejects(pause(6_000_000, 's', leaving.signal), { code: 'FLIST_INTERRUPTED' })
  const coded = new AbortController()
  coded.abort(new Error('plain'))
  await t.rejects(pause(1, 's', coded.signal), { code: 'FLIST_INTERRUPTED' })
})
