import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FlistError, LIMITS, Log } from '../../lib/base/index.ts'
import { Haste } from '../../lib/store/haste.ts'
import { openReader } from '../../lib/store/open.ts'
import { RoutedReader } from '../../lib/store/routed.ts'
import { Seldom } from '../../lib/store/seldom.ts'
import { abortError, storeError } from '../../lib/store/store-errors.ts'
import { blockOf, CountingSource, NEVER } from './blocks.ts'
import { block, failing, pool, reader } from './routed-parts.ts'

const { ref, stored, plain } = block

function corrupting(name: string): CountingSource {
  const source = new CountingSource(name)
  source.behave = async () => randomBytes(stored.length)
  return source
}

void t.test('the first source in order is asked, once', async (t) => {
  const [a, b] = [new CountingSource('a', [block]), new CountingSource('b', [block])]
  const routed = reader(t, [a, b])
  t.ok((await routed.read(ref, NEVER)).equals(plain))
  t.same([a.gets, b.gets], [1, 0])
  t.match(routed.stats(), [
    { name: 'a', requests: 1, bytes: stored.length, failures: 0, missing: 0 },
    { name: 'b', requests: 0 },
  ])
  t.ok((routed.stats()[0]?.latencyMsSum ?? 0) > 0)
})

void t.test('the next source is asked when one fails, lacks the block or gives wrong bytes', async (t) => {
  const bad = [
    failing('u', 'FLIST_STORE_UNREACHABLE'),
    failing('d', 'FLIST_STORE_DENIED'),
    failing('p', 'FLIST_STORE_PROTOCOL'),
    failing('t', 'FLIST_TIMEOUT'),
    new CountingSource('m'),
    corrupting('c'),
  ]
  const good = new CountingSource('good', [block])
  const routed = reader(t, [...bad, good])
  t.ok((await routed.read(ref, NEVER)).equals(plain))
  t.same(
    bad.map(({ gets }) => gets),
    [1, 1, 1, 1, 1, 1],
    'no retry where another store may have it',
  )
  t.ok((await routed.read(ref, NEVER)).equals(plain))
  t.same([...bad.map(({ gets }) => gets), good.gets], [1, 1, 1, 1, 2, 1, 2], 'who failed lately is asked last')
  t.match(routed.stats()[5], { name: 'c', failures: 1 })
})

void t.test('ranges: only who covers the first byte is asked', async (t) => {
  const first = ref.id[0]!
  const low = new CountingSource('low', [block])
  const high = new CountingSource('high', [block])
  const routed = new RoutedReader(
    [
      { start: first, end: first, source: high },
      { start: first === 255 ? 0 : first + 1, end: first === 255 ? 254 : 255, source: low },
    ],
    { pool },
  )
  await routed.read(ref, NEVER)
  t.same([low.gets, high.gets], [0, 1])
  const none = new RoutedReader([{ start: first === 0 ? 1 : 0, end: first === 0 ? 1 : first - 1, source: low }], {
    pool,
  })
  await t.rejects(none.read(ref, NEVER), { code: 'FLIST_BLOCK_NOT_ROUTED', hint: /--store URL/ })
  await none[Symbol.asyncDispose]()
  await none[Symbol.asyncDispose]()
  t.equal(low.disposed, 1)
})

void t.test('the worst code wins, and the message says what each store said', async (t) => {
  const cases: [CountingSource[], string][] = [
    [[new CountingSource('m')], 'FLIST_BLOCK_MISSING'],
    [[new CountingSource('m'), failing('d', 'FLIST_STORE_DENIED')], 'FLIST_STORE_DENIED'],
    [[failing('t', 'FLIST_TIMEOUT'), new CountingSource('m')], 'FLIST_TIMEOUT'],
    [[new CountingSource('m'), failing('u', 'FLIST_STORE_UNREACHABLE'), corrupting('c')], 'FLIST_BLOCK_CORRUPT'],
  ]
  for (const [sources, code] of cases) {
    const error: unknown = await reader(t, sources, { tries: 1 })
      .read(ref, NEVER)
      .catch((thrown: unknown) => thrown)
    t.match(error, { code, hint: /./ })
    if (!(error instanceof FlistError)) throw new Error('not a coded error')
    t.ok(error.message.startsWith(`Cannot read block "${ref.id.toString('hex')}": `))
    for (const { name } of sources) t.match(error.message, new RegExp(`store "${name}" (does not have it|failed: )`))
  }
})

void t.test('who does not answer is asked three times, who answers once', async (t) => {
  const [u, m] = [failing('u', 'FLIST_STORE_UNREACHABLE'), new CountingSource('m')]
  await t.rejects(reader(t, [u, m]).read(ref, NEVER), { code: 'FLIST_STORE_UNREACHABLE' })
  t.same([u.gets, m.gets], [3, 1])
})

void t.test('a refusal is final alone, and asked once more where another store is in trouble', async (t) => {
  const [alone, m] = [failing('d', 'FLIST_STORE_DENIED'), new CountingSource('m')]
  await t.rejects(reader(t, [alone, m]).read(ref, NEVER), { code: 'FLIST_STORE_DENIED' })
  t.same([alone.gets, m.gets], [1, 1])
  const [u, d] = [failing('u', 'FLIST_STORE_UNREACHABLE'), new CountingSource('d', [block])]
  d.behave = () => {
    d.behave = undefined
    return Promise.reject(storeError('FLIST_STORE_DENIED', 'd', 'a gateway says 403', 'Do nothing'))
  }
  t.ok((await reader(t, [u, d]).read(ref, NEVER)).equals(plain))
  t.same([u.gets, d.gets], [3, 2])
})

void t.test('what fails over and over is said once, with how often', (t) => {
  const dir = t.testdir()
  const path = join(dir, 'log')
  const fd = openSync(path, 'a')
  t.teardown(() => closeSync(fd))
  let now = 0
  const seldom = new Seldom(new Log(fd), () => now)
  for (let nth = 0; nth < 100; nth += 1) seldom.warn('a store failed', 'one FLIST_TIMEOUT', { nth })
  seldom.warn('a store failed', 'two FLIST_TIMEOUT', { nth: 0 })
  now += LIMITS.sameWarningMs
  seldom.warn('a store failed', 'one FLIST_TIMEOUT', { nth: 100 })
  now += LIMITS.sameWarningMs
  seldom.warn('a store failed', 'one FLIST_TIMEOUT', { nth: 101 })
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  t.match(lines, [/nth=0$/, /nth=0$/, /nth=100 more=99$/, /nth=101$/])
  t.equal(lines.length, 4)
  t.end()
})

void t.test('a wrong length under the right hash is not asked for elsewhere', async (t) => {
  const [a, b] = [new CountingSource('a', [block]), new CountingSource('b', [block])]
  await t.rejects(reader(t, [a, b]).read({ ...ref, plainBytes: 5000 }, NEVER), { code: 'FLIST_FILE_TRUNCATED' })
  t.same([a.gets, b.gets], [1, 0])
})

void t.test('a read ends at its deadline and with its signal, whatever the source does', async (t) => {
  const deaf = new CountingSource('deaf')
  deaf.behave = () => new Promise(() => {})
  const keepAlive = setInterval(() => {}, 1000)
  t.teardown(() => clearInterval(keepAlive))
  await t.rejects(reader(t, [deaf], { timeoutMs: 50 }).read(ref, NEVER), { code: 'FLIST_TIMEOUT', message: /50 ms/ })
  const controller = new AbortController()
  const work = reader(t, [deaf]).read(ref, controller.signal)
  controller.abort()
  await t.rejects(work, { code: 'FLIST_INTERRUPTED' })
})

void t.test('readahead waits for demand, and leaves it room', async (t) => {
  const source = new CountingSource('slow', [block])
  const order: string[] = []
  const open: (() => void)[] = []
  source.behave = (id) =>
    new Promise((resolve) => {
      order.push(id.toString('hex'))
      open.push(() => resolve(source.blocks.get(id.toString('hex'))))
    })
  const blocks = Array.from({ length: 8 }, (_, at) => blockOf(Buffer.from([at, 1, 2, 3])))
  for (const one of blocks) source.blocks.set(one.ref.id.toString('hex'), one.stored)
  const routed = reader(t, [source], { inFlightMax: 4 })
  const gave = blocks.map(({ ref: one }, at) => routed.read({ ...one, ahead: at < 4 }, NEVER))
  while (order.length < 4) await new Promise(setImmediate)
  const expected = [0, 1, 2, 4].map((at) => blocks[at]!.ref.id.toString('hex'))
  t.same(order, expected, 'three ahead, then one wanted')
  while (open.length > 0) {
    open.shift()!()
    await new Promise(setImmediate)
    await new Promise(setImmediate)
  }
  await Promise.all(gave)
  t.same(
    order.slice(4),
    [5, 6, 7, 3].map((at) => blocks[at]!.ref.id.toString('hex')),
    'the wanted ones before the one ahead',
  )
})

void t.test('what is read ahead and then wanted goes before the rest, into the places kept for it', async (t) => {
  const source = new CountingSource('slow', [block])
  const order: number[] = []
  const open: (() => void)[] = []
  const blocks = Array.from({ length: 8 }, (_, at) => blockOf(Buffer.from([at, 9, 9, 9])))
  source.behave = (id) =>
    new Promise((resolve) => {
      const at = blocks.findIndex(({ ref: one }) => one.id.equals(id))
      order.push(at)
      open.push(() => resolve(blocks[at]?.stored))
    })
  const routed = reader(t, [source], { inFlightMax: 4 })
  const hastes = blocks.map(() => new Haste(false))
  const left = new AbortController()
  const gave = blocks.map(({ ref: one }, at) =>
    routed.read({ ...one, haste: hastes[at]! }, at === 4 ? left.signal : NEVER),
  )
  const turn = async (): Promise<void> => {
    for (let nth = 0; nth < 4; nth += 1) await new Promise(setImmediate)
  }
  await turn()
  t.same(order, [0, 1, 2], 'readahead leaves a place')
  hastes[6]?.want()
  await turn()
  t.same(order, [0, 1, 2, 6], 'which the wanted one takes at once')
  hastes[7]?.want()
  left.abort()
  hastes[4]?.want()
  await t.rejects(gave[4]!, { code: 'FLIST_INTERRUPTED' })
  for (; open.length > 0; await turn()) open.shift()?.()
  await Promise.all(gave.toSpliced(4, 1))
  t.same(order, [0, 1, 2, 6, 7, 3, 5], 'and the next place the next wanted one')
})

void t.test('an abandoned wait gives its place to nobody twice', async (t) => {
  const source = new CountingSource('s', [block])
  source.behave = (_, signal) =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(abortError(signal, 's')), { once: true }))
  const routed = reader(t, [source], { inFlightMax: 1 })
  const [first, second] = [new AbortController(), new AbortController()]
  const works = [routed.read(ref, first.signal), routed.read(ref, second.signal)]
  second.abort()
  first.abort()
  for (const work of works) await t.rejects(work, { code: 'FLIST_INTERRUPTED' })
  source.behave = undefined
  t.ok((await routed.read(ref, NEVER)).equals(plain))
})

void t.test('openReader() joins all, opens nothing before it is needed, and hides secrets', async (t) => {
  const root = t.testdir({ store: {} })
  const hex = ref.id.toString('hex')
  mkdirSync(join(root, 'store', hex.slice(0, 2)))
  writeFileSync(join(root, 'store', hex.slice(0, 2), hex), stored)
  const range = { start: 0, end: 255 }
  const urls = [
    'ftp://u:hunter2@h?token=hunter2',
    'redis://:hunter2@127.0.0.1:1',
    'http://127.0.0.1:1/?password-file=/etc/passwd',
  ]
  const bad = urls.map((url) => ({ ...range, url }))
  await using routed = openReader({ routes: [...bad, { ...range, url: 'dir:store' }], baseDir: root })
  t.ok((await routed.read(ref, NEVER)).equals(plain))
  t.equal(routed.stats().length, 4)
  await using alone = openReader({ routes: bad, baseDir: root, timeoutMs: 60_000 })
  const error: unknown = await alone.read(ref, NEVER).catch((thrown: unknown) => thrown)
  t.match(error, {
    code: 'FLIST_STORE_UNREACHABLE',
    message: /scheme "ftp" is unknown.*may not read secrets/,
  })
  t.notMatch(String(error) + JSON.stringify(error) + JSON.stringify(alone.stats()), 'hunter2')
})
