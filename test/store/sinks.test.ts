import { randomBytes } from 'node:crypto'
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { openSinks, type OpenSinks, DirSink, publicUrl } from '../../lib/store/index.ts'
import { openSink, openSource } from '../../lib/store/open.ts'
import { makeBlock, NEVER, type TestBlock } from './blocks.ts'
import { FL_USER, startFlServer } from './fl-server.ts'
import { NO_REDIS, startRedis } from './redis-server.ts'
import { ACCESS, NO_S3, SECRET, startGateway } from './versitygw.ts'

const PASSWORD = 'hunter2-s3cr3t'
const blocks = await Promise.all([makeBlock(1), makeBlock(4096), makeBlock(524_288), makeBlock(70_000, 'v1')])
/** fl-server knows no others. */
const flBlocks = blocks.filter(({ ref }) => ref.format === 'fl')

for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
process.env['HOME'] = t.testdir({ '.config': {} })
process.env['XDG_CONFIG_HOME'] = join(process.env['HOME'], '.config')

async function opened(t: Test, ...urls: string[]): Promise<OpenSinks> {
  const routes = urls.map((url) => ({ start: 0, end: 255, url }))
  const sinks = await openSinks(routes, '/')
  t.teardown(() => sinks[Symbol.asyncDispose]())
  return sinks
}

/** What every store that is no folder does; what it took is read back as a mount would. */
async function sinkSuite(t: Test, url: string, mine: readonly TestBlock[] = blocks): Promise<void> {
  await t.test('takes blocks that a source of the same URL gives', async (t) => {
    const sinks = await opened(t, url)
    const sent = await Promise.all(mine.map(({ ref, stored }) => sinks.send(ref.id, stored, NEVER)))
    t.same(
      sent,
      mine.map(() => true),
    )
    await using source = await openSource(url, { baseDir: '/', trusted: true, timeoutMs: 60_000 })
    for (const { ref, stored } of mine) t.ok((await source.get(ref.id, NEVER))?.equals(stored))
  })
  await t.test('sends nothing that is there', async (t) => {
    const sinks = await opened(t, url)
    const sent = await Promise.all(mine.map(({ ref, stored }) => sinks.send(ref.id, stored, NEVER)))
    t.same(
      sent,
      mine.map(() => false),
    )
    await using sink = await openSink(url, '/')
    t.equal(await sink.has(randomBytes(32), NEVER), false)
    t.equal(await sink.has(blocks[0]!.ref.id, NEVER), true)
    await sink.put(blocks[0]!.ref.id, blocks[0]!.stored, NEVER)
  })
  await t.test('throws FLIST_INTERRUPTED for an aborted signal', async (t) => {
    const sinks = await opened(t, url)
    const gone = AbortSignal.abort()
    await t.rejects(sinks.send(blocks[0]!.ref.id, blocks[0]!.stored, gone), { code: 'FLIST_INTERRUPTED' })
  })
}

async function failure(work: () => Promise<unknown>): Promise<{ code: string; message: string; hint: string }> {
  const error: unknown = await work().then(
    () => new Error('it did not fail'),
    (thrown: unknown) => thrown,
  )
  return error as { code: string; message: string; hint: string }
}

void t.test('redis', { skip: NO_REDIS, timeout: 600_000 }, async (t) => {
  const { port, socket } = await startRedis(t, ['--requirepass', PASSWORD])
  await sinkSuite(t, `redis://:${PASSWORD}@[::1]:${port}/3`)
  await sinkSuite(t, `redis://${socket}?password=${PASSWORD}`)
  const sinks = await opened(t, `redis://:wrong@127.0.0.1:${port}`)
  const error = await failure(() => sinks.send(blocks[0]!.ref.id, blocks[0]!.stored, NEVER))
  t.match(error, { code: 'FLIST_STORE_DENIED', message: /^Cannot write to store/ })
})

void t.test('zdb, as a peer that knows no HELLO', { skip: NO_REDIS, timeout: 600_000 }, async (t) => {
  const { port } = await startRedis(t, ['--rename-command', 'HELLO', ''])
  await sinkSuite(t, `zdb://127.0.0.1:${port}/default`)
})

for (const address of ['127.0.0.1', '::1']) {
  void t.test(`s3 on ${address}, which checks signatures`, { skip: NO_S3, timeout: 600_000 }, async (t) => {
    const { host, dir } = await startGateway(t, address, ['--region', 'west-1'])
    const login = `${ACCESS}:${encodeURIComponent(SECRET)}`
    await sinkSuite(t, `s3://${login}@${host}/blocks/some/folder?region=west-1`)
    const [first] = blocks
    const path = join(dir, 'blocks/some/folder', first!.ref.id.toString('hex'))
    t.ok(readFileSync(path).equals(first!.stored))
    for (const [url, code] of [
      [`s3://${ACCESS}:wrong@${host}/blocks?region=west-1`, 'FLIST_STORE_DENIED'],
      [`s3://${login}@${host}/nowhere?region=west-1`, 'FLIST_STORE_PROTOCOL'],
      [`s3://${login}@${host}/blocks?region=east-9`, 'FLIST_STORE_DENIED'],
    ] as const) {
      const sinks = await opened(t, url)
      const error = await failure(() => sinks.send(first!.ref.id, first!.stored, NEVER))
      t.match(error, { code, message: /^Cannot write to store/ })
      t.notMatch(inspect(error, { depth: 20, showHidden: true }), SECRET)
    }
  })
}

void t.test('fl-server', { timeout: 600_000 }, async (t) => {
  const server = await startFlServer(t, PASSWORD)
  await sinkSuite(t, `server://http://${server.host}/base?token=${PASSWORD}`, flBlocks)
  await t.test('signs in where it has a password', async (t) => {
    server.blocks.clear()
    const sinks = await opened(t, `server://http://${FL_USER}:${PASSWORD}@${server.host}/base`)
    await Promise.all(flBlocks.map(({ ref, stored }) => sinks.send(ref.id, stored, NEVER)))
    t.equal(server.signIns, 1)
    t.equal(server.blocks.size, flBlocks.length)

    server.blocks.clear()
    server.token = 'the first has run out'
    await Promise.all(flBlocks.map(({ ref, stored }) => sinks.send(ref.id, stored, NEVER)))
    t.equal(server.signIns, 2, 'all with one more')
    t.equal(server.blocks.size, flBlocks.length)
  })
  await t.test('says who it is where it may not even look', async (t) => {
    server.blocks.clear()
    server.guarded = true
    t.teardown(() => (server.guarded = false))
    for (const login of [`${FL_USER}:${PASSWORD}@${server.host}/base`, `${server.host}/base?token=token-3`]) {
      server.blocks.clear()
      await using sinks = await openSinks([{ start: 0, end: 255, url: `server://http://${login}` }], '/')
      for (const isNew of [true, false])
        for (const { ref, stored } of flBlocks) t.equal(await sinks.send(ref.id, stored, NEVER), isNew)
    }
    t.equal(server.signIns, 3, 'once')
    const strangers = await opened(t, `server://http://${server.host}/base?token=other`)
    t.match(await failure(() => strangers.send(blocks[1]!.ref.id, blocks[1]!.stored, NEVER)), {
      code: 'FLIST_STORE_DENIED',
    })
  })
  await t.test('tries again while it is busy, and says what it refuses', async (t) => {
    server.blocks.clear()
    server.token = PASSWORD
    server.first.push(503, 429, 500)
    const sinks = await opened(t, `server://http://${server.host}/base?token=${PASSWORD}`)
    t.equal(await sinks.send(blocks[1]!.ref.id, blocks[1]!.stored, NEVER), true)
    t.same(server.first, [])
    const strangers = await opened(t, `server://http://${server.host}/base?token=other`)
    const error = await failure(() => strangers.send(blocks[2]!.ref.id, blocks[2]!.stored, NEVER))
    t.match(error, { code: 'FLIST_STORE_DENIED' })
    server.lies = true
    const wrong = await failure(() => sinks.send(blocks[2]!.ref.id, blocks[2]!.stored, NEVER))
    t.match(wrong, { code: 'FLIST_STORE_PROTOCOL', message: /under another id/ })
  })
})

function files(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name, parentPath }) => join(parentPath, name).slice(dir.length + 1))
    .sort()
}

void t.test('DirSink stores blocks where a mount reads them', async (t) => {
  const dir = join(t.testdir({}), 'made/when/needed')
  const sink = new DirSink('dir', dir)
  t.teardown(() => sink.close())
  const name = ({ ref }: TestBlock): string => ref.id.toString('hex').replace(/^../, '$&/$&')
  t.same(
    blocks.map(({ ref, stored }) => sink.store(ref.id, stored)),
    [true, true, true, true],
  )
  t.same(
    blocks.map(({ ref, stored }) => sink.store(ref.id, stored)),
    [false, false, false, false],
  )
  t.same(files(dir), blocks.map(name).sort())
  await using source = await openSource(`dir://${dir}`, { baseDir: '/' })
  for (const { ref, stored } of blocks) t.ok((await source.get(ref.id, NEVER))?.equals(stored))
  // rfs writes a block under its name at once: one that was cut short is written again.
  writeFileSync(join(dir, name(blocks[1]!)), blocks[1]!.stored.subarray(0, 100))
  t.equal(sink.store(blocks[1]!.ref.id, blocks[1]!.stored), true)
  t.ok(readFileSync(join(dir, name(blocks[1]!))).equals(blocks[1]!.stored))
  sink.sync()
  sink.close()
  sink.close()
  t.notOk(readdirSync(dir).includes('.tmp'), 'nothing is left but blocks')
})

void t.test('DirSink goes on where another writer has ended', (t) => {
  const dir = t.testdir({})
  const one = new DirSink('one', dir)
  const two = new DirSink('two', dir)
  one.close()
  t.equal(two.store(blocks[0]!.ref.id, blocks[0]!.stored), true)
  two.close()
  t.equal(files(dir).length, 1)
  t.end()
})

void t.test('DirSink says why it cannot', (t) => {
  const dir = t.testdir({ file: 'a file' })
  t.throws(() => new DirSink('dir', join(dir, 'file/below')), { code: 'FLIST_STORE_UNREACHABLE', message: /ENOTDIR/ })
  if (process.getuid?.() !== 0) {
    mkdirSync(join(dir, 'closed'))
    chmodSync(join(dir, 'closed'), 0o500)
    t.throws(() => new DirSink('dir', join(dir, 'closed')), { code: 'FLIST_STORE_DENIED', message: /EACCES/ })
  }
  t.end()
})

void t.test('openSinks() refuses what cannot be written, and gaps', async (t) => {
  const dir = t.testdir({})
  const open = (...routes: [number, number, string][]): Promise<unknown> =>
    openSinks(
      routes.map(([start, end, url]) => ({ start, end, url })),
      '/',
    )
  await t.rejects(open([0, 255, 'http://127.0.0.1:1/']), { code: 'FLIST_USAGE' })
  await t.rejects(open([0, 127, `dir://${dir}`]), { code: 'FLIST_BLOCK_NOT_ROUTED', message: /begin with 80/ })
  const sinks = await openSinks(
    [
      { start: 0, end: 127, url: `dir://${dir}/a` },
      { start: 100, end: 255, url: 'zdb://127.0.0.1:1/x' },
    ],
    '/',
  )
  t.equal(sinks.folders.length, 1)
  t.same([sinks.wanted[99], sinks.wanted[100], sinks.wanted[255]], [0, 1, 1])
  await sinks[Symbol.asyncDispose]()
})

void t.test('publicUrl() tells no secrets', (t) => {
  const cases: [string, string][] = [
    ['dir:blocks', 'dir:///base/blocks'],
    ['dir:///srv/blocks', 'dir:///srv/blocks'],
    ['zdb://:secret@host:9900/ns', 'zdb://host:9900/ns'],
    ['zdb://host/ns?password-file=/etc/secret', 'zdb://host/ns'],
    ['zdb:///run/zdb.sock?namespace=a&password=secret', 'zdb:///run/zdb.sock?namespace=a'],
    ['redis://secret@[::1]:6379/3', 'redis://[::1]:6379/3'],
    ['s3://key:secret@host:9000/bucket/folder?region=west', 's3://host:9000/bucket/folder?region=west'],
    ['s3s://host/bucket?ca-file=/etc/ca.pem&region=west', 's3s://host/bucket?region=west'],
    ['server://http://me:secret@host:80?token=jwt', 'server://http://host:80'],
    ['https:me:secret@host/x', 'https:host/x'],
  ]
  for (const [url, expected] of cases) t.equal(publicUrl(url, '/base'), expected)
  t.end()
})
