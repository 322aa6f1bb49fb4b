import { createServer, type Socket } from 'node:net'
import { writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { inspect } from 'node:util'
import { createClient } from 'redis'
import t, { type Test } from 'tap'
import { openSink, openSource } from '../../lib/store/open.ts'
import type { BlockSource } from '../../lib/store/port.ts'
import { makeBlock, NEVER, type TestBlock } from './blocks.ts'
import { listen, NO_REDIS, startRedis } from './redis-server.ts'
import { storeSuite } from './store-suite.ts'

const SECRET = 'hunter2-s3cr3t'
async function fill(port: number, blocks: readonly TestBlock[], database = 0, password?: string): Promise<void> {
  const client = createClient({
    socket: { port, host: '127.0.0.1' },
    database,
    ...(password === undefined ? {} : { password }),
  })
  client.on('error', () => {})
  await client.connect()
  for (const { ref, stored } of blocks) await client.set(ref.id, stored)
  client.destroy()
}

async function open(t: Test, url: string, timeoutMs = 60_000): Promise<BlockSource> {
  const source = await openSource(url, { baseDir: '/', trusted: true, timeoutMs })
  t.teardown(() => source[Symbol.asyncDispose]())
  return source
}

async function failure(source: BlockSource, id: Buffer): Promise<unknown> {
  const error: unknown = await source.get(id, NEVER).then(
    () => 'no error',
    (thrown: unknown) => thrown,
  )
  return error
}

void t.test('a real server, in every way to reach it', { skip: NO_REDIS }, async (t) => {
  const { port, socket } = await startRedis(t)
  const urls = [
    `redis://127.0.0.1:${port}`,
    `redis://[::1]:${port}/2`,
    `redis://${socket}`,
    `zdb://127.0.0.1:${port}`,
    `zdb://[::1]:${port}/default`,
    `zdb://${socket}`,
  ]
  for (const url of urls) {
    await t.test(url.replace(socket, '/SOCKET').replace(String(port), 'PORT'), async (t) => {
      await storeSuite(t, async (blocks) => {
        await fill(port, blocks, url.endsWith('/2') ? 2 : 0)
        return openSource(url, { baseDir: '/' })
      })
    })
  }
  await t.test('an empty value is no block', async (t) => {
    const { ref } = await makeBlock(1)
    await fill(port, [{ ref, plain: Buffer.alloc(0), stored: Buffer.alloc(0) }])
    await t.rejects((await open(t, `redis://127.0.0.1:${port}`)).get(ref.id, NEVER), {
      code: 'FLIST_STORE_PROTOCOL',
      message: /empty/,
    })
  })
})

void t.test('passwords', { skip: NO_REDIS }, async (t) => {
  const { port, socket } = await startRedis(t, ['--requirepass', SECRET])
  const block = await makeBlock(5000)
  await fill(port, [block], 0, SECRET)
  const file = `${dirname(socket)}/password`
  writeFileSync(file, `${SECRET}\n`)
  process.env['FLISTFS_TEST_PASSWORD'] = SECRET
  t.teardown(() => delete process.env['FLISTFS_TEST_PASSWORD'])
  const host = `127.0.0.1:${port}`
  const good = [
    `redis://:${SECRET}@${host}`,
    `redis://default:${SECRET}@${host}`,
    `redis://${SECRET}@${host}`,
    `redis://${host}?password-file=${file}`,
    `redis://${host}?password-env=FLISTFS_TEST_PASSWORD`,
    `redis://${socket}?password-file=${file}`,
  ]
  for (const url of good)
    t.ok(
      (await (await open(t, url)).get(block.ref.id, NEVER))?.equals(block.stored),
      url.replaceAll(SECRET, 'PASSWORD'),
    )
  for (const url of [`redis://${host}`, `redis://:wrong-${SECRET}@${host}`, `redis://wrong-${SECRET}@${host}`]) {
    const error = await failure(await open(t, url), block.ref.id)
    t.match(error, { code: 'FLIST_STORE_DENIED', message: /^Cannot read from store "redis:/ })
    t.notMatch(inspect(error, { depth: 20 }), SECRET)
  }
})

void t.test(
  'a password that is replaced in its file is used by who reads and writes',
  { skip: NO_REDIS },
  async (t) => {
    const { port, socket } = await startRedis(t, ['--requirepass', SECRET])
    const [here, more] = await Promise.all([makeBlock(5000), makeBlock(6000)])
    await fill(port, [here], 0, SECRET)
    const file = `${dirname(socket)}/password`
    writeFileSync(file, SECRET)
    const url = `redis://127.0.0.1:${port}?password-file=${file}`
    const source = await open(t, url)
    const sink = await openSink(url, '/')
    t.teardown(() => sink[Symbol.asyncDispose]())
    t.ok(await source.get(here.ref.id, NEVER))
    t.ok(await sink.has(here.ref.id, NEVER))

    const admin = createClient({ socket: { port, host: '127.0.0.1' }, password: SECRET })
    await admin.connect()
    await admin.sendCommand(['CONFIG', 'SET', 'requirepass', `new-${SECRET}`])
    const ended = new Promise((resolve) => admin.once('error', resolve))
    await admin.sendCommand(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'no']).catch(() => undefined)
    await ended
    admin.destroy()
    // That the connection broke may come first.
    await failure(source, here.ref.id)
    t.match(await failure(source, here.ref.id), { code: 'FLIST_STORE_DENIED' }, 'the file says what it said')

    writeFileSync(file, `new-${SECRET}\n`)
    const read = await Promise.all([1, 2, 3].map(() => source.get(here.ref.id, NEVER)))
    t.ok(read.every((stored) => stored?.equals(here.stored)))
    await sink.put(more.ref.id, more.stored, NEVER).catch(() => sink.put(more.ref.id, more.stored, NEVER))
    t.ok((await source.get(more.ref.id, NEVER))?.equals(more.stored))
  },
)

void t.test('a server that ends and comes back', { skip: NO_REDIS }, async (t) => {
  const first = await startRedis(t)
  const block = await makeBlock(5000)
  await fill(first.port, [block])
  const source = await open(t, `redis://127.0.0.1:${first.port}`)
  t.ok(await source.get(block.ref.id, NEVER))
  await first.stop()
  t.match(await failure(source, block.ref.id), { code: 'FLIST_STORE_UNREACHABLE' })
  t.match(await failure(source, block.ref.id), { code: 'FLIST_STORE_UNREACHABLE' })
  const again = await startRedis(t, [], first.port)
  await fill(again.port, [block])
  t.ok((await source.get(block.ref.id, NEVER))?.equals(block.stored))
})

type Answer = (command: string[], socket: Socket) => string | undefined

/** Answers that redis cannot be brought to give. Only what the client here sends is parsed: arrays of bulk strings. */
async function fakeZdb(t: Test, answer: Answer): Promise<{ port: number; commands: string[][] }> {
  const commands: string[][] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    let text = ''
    socket.on('data', (data) => {
      text += data.toString('latin1')
      for (let parsed = parse(text); parsed !== undefined; parsed = parse(text)) {
        text = text.slice(parsed.used)
        commands.push(parsed.command)
        const reply = answer(parsed.command, socket)
        if (reply !== undefined) socket.write(reply, 'latin1')
      }
    })
  })
  const port = await listen(server)
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port, commands }
}

function parse(text: string): { command: string[]; used: number } | undefined {
  const head = /^\*(\d+)\r\n/.exec(text)
  if (head === null) return undefined
  let at = head[0].length
  const command: string[] = []
  for (let i = 0; i < Number(head[1]); i += 1) {
    const size = /^\$(\d+)\r\n/.exec(text.slice(at))
    if (size === null) return undefined
    at += size[0].length
    const length = Number(size[1])
    if (text.length < at + length + 2) return undefined
    command.push(text.slice(at, at + length))
    at += length + 2
  }
  return { command, used: at }
}

const block = await makeBlock(300)
const { id } = block.ref
const found = `$${block.stored.length}\r\n${block.stored.toString('latin1')}\r\n`

void t.test('zdb: SELECT with the password before anything else, on each connection', async (t) => {
  let first = true
  const { port, commands } = await fakeZdb(t, ([name], socket) => {
    if (name === 'SELECT') return '+OK\r\n'
    if (!first) return found
    first = false
    socket.destroy()
    return undefined
  })
  const source = await open(t, `zdb://user:${SECRET}@127.0.0.1:${port}/space`)
  t.match(await failure(source, id), { code: 'FLIST_STORE_UNREACHABLE' })
  t.ok((await source.get(id, NEVER))?.equals(block.stored))
  const get = ['GET', id.toString('latin1')]
  const select = ['SELECT', 'space', SECRET]
  t.same(commands, [select, get, select, get], 'no HELLO, no CLIENT, no AUTH')
})

void t.test('zdb: default namespace, user name only: nothing but GET', async (t) => {
  const { port, commands } = await fakeZdb(t, () => found)
  const source = await open(t, `zdb://someone@127.0.0.1:${port}/default`)
  t.ok(await source.get(id, NEVER))
  t.same(
    commands.map(([name]) => name),
    ['GET'],
  )
})

const REPLIES: [string, string][] = [
  ['-Namespace not found\r\n', 'FLIST_STORE_PROTOCOL'],
  ['-Namespace protected and private\r\n', 'FLIST_STORE_DENIED'],
  ['-Access denied\r\n', 'FLIST_STORE_DENIED'],
  ['-Command not supported\r\n', 'FLIST_STORE_PROTOCOL'],
  [`-ERR unknown command 'SELECT', with args beginning with: 'space' '${SECRET}'\r\n`, 'FLIST_STORE_PROTOCOL'],
  ['-LOADING Redis is loading the dataset in memory\r\n', 'FLIST_STORE_UNREACHABLE'],
  [`$2\r\nno\r\n`, 'FLIST_STORE_PROTOCOL'],
]
for (const [reply, code] of REPLIES) {
  void t.test(`SELECT answered by ${reply.trim().replace(SECRET, 'PASSWORD')}: ${code}`, async (t) => {
    const { port } = await fakeZdb(t, () => reply)
    const error = await failure(await open(t, `zdb://:${SECRET}@127.0.0.1:${port}/space`), id)
    t.match(error, { code, message: /^Cannot read from store "zdb:\/\/\*\*\*@/ })
    t.notMatch(inspect(error, { depth: 20 }), SECRET)
  })
}

void t.test('GET answered by something else', async (t) => {
  for (const [reply = '', code] of [
    [':1\r\n', 'PROTOCOL'],
    ['-Invalid key\r\n', 'PROTOCOL'],
    ['+OK\r\n', 'PROTOCOL'],
    ['*0\r\n', 'PROTOCOL'],
  ]) {
    const { port } = await fakeZdb(t, () => reply)
    t.match(await failure(await open(t, `zdb://127.0.0.1:${port}`), id), { code: `FLIST_STORE_${code}` }, reply)
  }
})

void t.test('a clock that is set back keeps no store away', async (t) => {
  let mute = true
  const { port } = await fakeZdb(t, ([name]) =>
    name === 'GET' ? found : mute ? '-Namespace not found\r\n' : '+OK\r\n',
  )
  const source = await open(t, `zdb://127.0.0.1:${port}/space`, 5000)
  const real = Date.now
  t.teardown(() => (Date.now = real))
  t.match(await failure(source, id), { code: 'FLIST_STORE_PROTOCOL' })
  mute = false
  Date.now = () => real() - 3_600_000
  t.ok((await source.get(id, AbortSignal.timeout(30_000)))?.equals(block.stored))
})

void t.test('an answer that never ends is not kept', async (t) => {
  for (const [head, command] of [
    ['$4000000000\r\n', 'GET'],
    ['*1000000000\r\n$4000000000\r\n', 'GET'],
    ['+', 'GET'],
    ['-', 'SELECT'],
  ] as const) {
    let sent = 0
    const { port } = await fakeZdb(t, ([name], socket) => {
      if (name !== command) return '+OK\r\n'
      const pump = (): void => {
        while (!socket.destroyed && sent < 256 * 1024 * 1024 && socket.write(Buffer.alloc(65536, 'a'))) sent += 65536
      }
      socket.on('drain', pump)
      setImmediate(pump)
      return head
    })
    t.match(await failure(await open(t, `zdb://127.0.0.1:${port}/space`), id), {
      code: 'FLIST_STORE_PROTOCOL',
      message: /a block is too large$/,
    })
    t.ok(sent < 64 * 1024 * 1024, `${command} answered by ${sent} bytes`)
  }
})

void t.test('an answer that is not RESP ends at the deadline', async (t) => {
  const { port } = await fakeZdb(t, () => '!!!\r\n')
  t.match(await failure(await open(t, `zdb://127.0.0.1:${port}`, 200), id), { code: 'FLIST_TIMEOUT' })
})

void t.test('silence has a deadline, in connecting and in answering, and a dead connection is replaced', async (t) => {
  let mute = true
  const { port, commands } = await fakeZdb(t, ([name]) =>
    name === 'SELECT' ? (mute ? undefined : '+OK\r\n') : undefined,
  )
  const source = await open(t, `zdb://127.0.0.1:${port}/space`, 2000)
  t.match(await failure(source, id), { code: 'FLIST_TIMEOUT' })
  mute = false
  t.match(await failure(source, id), { code: 'FLIST_TIMEOUT' })
  t.match(await failure(source, id), { code: 'FLIST_TIMEOUT' })
  t.equal(commands.filter(([name]) => name === 'SELECT').length, 3, 'one connection for each')
})

void t.test('many requests use two connections, not more', async (t) => {
  const sockets = new Set<Socket>()
  const { port } = await fakeZdb(t, (_, socket) => {
    sockets.add(socket)
    return found
  })
  const source = await open(t, `zdb://127.0.0.1:${port}`)
  for (let round = 0; round < 5; round += 1) {
    const all = await Promise.all(Array.from({ length: 100 }, () => source.get(id, NEVER)))
    t.ok(all.every((stored) => stored?.equals(block.stored)))
  }
  t.equal(sockets.size, 2)
})
