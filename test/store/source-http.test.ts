import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { LIMITS } from '../../lib/base/index.ts'
import { withDeadline } from '../../lib/store/deadline.ts'
import { openSource } from '../../lib/store/open.ts'
import type { BlockSource } from '../../lib/store/port.ts'
import { retrying } from '../../lib/store/retrying.ts'
import { retryAfterMs } from '../../lib/store/web-client.ts'
import { makeBlock, NEVER } from './blocks.ts'
import { storeSuite } from './store-suite.ts'

type Handler = (request: IncomingMessage, response: ServerResponse) => void

interface Served {
  readonly url: string
  readonly seen: IncomingMessage[]
}

async function serve(t: Test, handler: Handler, host = '127.0.0.1'): Promise<Served> {
  const seen: IncomingMessage[] = []
  const server = createServer((request, response) => {
    seen.push(request)
    handler(request, response)
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`, seen }
}

async function open(t: Test, url: string, timeoutMs = 2000): Promise<BlockSource> {
  const source = await openSource(url, { baseDir: '/', trusted: true, timeoutMs })
  t.teardown(() => source[Symbol.asyncDispose]())
  return source
}

for (const flat of [false, true]) {
  for (const host of ['127.0.0.1', '::1']) {
    void t.test(`http store on ${host}, ${flat ? 'flat' : 'sharded'}`, async (t) => {
      await storeSuite(t, async (blocks) => {
        const files = new Map(
          blocks.map(({ ref, stored }) => {
            const hex = ref.id.toString('hex')
            return [flat ? `/base/${hex}` : `/base/${hex.slice(0, 2)}/${hex}`, stored] as const
          }),
        )
        const { url } = await serve(
          t,
          (request, response) => {
            const file = files.get(request.url ?? '')
            response.writeHead(file === undefined ? 404 : 200)
            response.end(file ?? 'no such thing')
          },
          host,
        )
        return openSource(`${url}/base/`, { baseDir: '/' })
      })
    })
  }
}

const block = await makeBlock(50_000)
const { id } = block.ref
const hex = id.toString('hex')

void t.test(
  'requests: the layout that had the last block is asked first, no encoding is asked for, connections are kept',
  async (t) => {
    const sockets = new Set<unknown>()
    const { url, seen } = await serve(t, (request, response) => {
      sockets.add(request.socket)
      if (request.url === `/${hex}?sig=a%20b`) response.end(block.stored)
      else response.writeHead(404).end()
    })
    const source = await open(t, `${url}?sig=a%20b`)
    for (let i = 0; i < 3; i += 1) t.ok((await source.get(id, NEVER))?.equals(block.stored))
    const paths = seen.map((request) => request.url)
    t.same(paths, [
      `/${hex.slice(0, 2)}/${hex}?sig=a%20b`,
      `/${hex}?sig=a%20b`,
      `/${hex}?sig=a%20b`,
      `/${hex}?sig=a%20b`,
    ])
    t.ok(sockets.size <= 2, 'a connection is busy until its answer is read')
    t.equal(seen[0]?.headers['accept-encoding'], undefined)
  },
)

const SECRET = 'hunter2-s3cr3t'
const FAULTS: [string, Handler, string][] = [
  ['401', (_, response) => response.writeHead(401).end(), 'FLIST_STORE_DENIED'],
  ['403', (_, response) => response.writeHead(403).end(), 'FLIST_STORE_DENIED'],
  ['500', (_, response) => response.writeHead(500).end('x'.repeat(200_000)), 'FLIST_STORE_UNREACHABLE'],
  ['503', (_, response) => response.writeHead(503, { 'retry-after': '1' }).end(), 'FLIST_STORE_UNREACHABLE'],
  ['429', (_, response) => response.writeHead(429).end(), 'FLIST_STORE_UNREACHABLE'],
  ['400', (_, response) => response.writeHead(400).end(), 'FLIST_STORE_PROTOCOL'],
  ['206', (_, response) => response.writeHead(206).end('part'), 'FLIST_STORE_PROTOCOL'],
  ['an empty block', (_, response) => response.end(), 'FLIST_STORE_PROTOCOL'],
  [
    'too large, announced',
    (_, response) => response.writeHead(200, { 'content-length': 10_000_000 }).write('x'),
    'FLIST_STORE_PROTOCOL',
  ],
  ['too large, streamed', (_, response) => endless(response), 'FLIST_STORE_PROTOCOL'],
  [
    'encoded',
    (_, response) => response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
    'FLIST_STORE_PROTOCOL',
  ],
  ['a loop', (request, response) => response.writeHead(302, { location: request.url }).end(), 'FLIST_STORE_PROTOCOL'],
  ['a redirect to nowhere', (_, response) => response.writeHead(302).end(), 'FLIST_STORE_PROTOCOL'],
  [
    'a redirect elsewhere',
    (_, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
    'FLIST_STORE_PROTOCOL',
  ],
  ['reset at once', (request) => request.socket.resetAndDestroy(), 'FLIST_STORE_UNREACHABLE'],
  [
    'reset in the body',
    (request, response) => halfThen(response, () => request.socket.resetAndDestroy()),
    'FLIST_STORE_UNREACHABLE',
  ],
  [
    'shorter than announced',
    (request, response) => halfThen(response, () => request.socket.end()),
    'FLIST_STORE_UNREACHABLE',
  ],
  ['no HTTP', (request) => request.socket.end('hello\r\n\r\n'), 'FLIST_STORE_PROTOCOL'],
  ['stalled before the head', () => {}, 'FLIST_TIMEOUT'],
  ['stalled in the body', (_, response) => halfThen(response, () => {}), 'FLIST_TIMEOUT'],
]

function halfThen(response: ServerResponse, then: () => void): void {
  response.writeHead(200, { 'content-length': block.stored.length })
  response.write(block.stored.subarray(0, 20_000), () => then())
}

function endless(response: ServerResponse): void {
  const piece = Buffer.alloc(100_000)
  const more = (): void => {
    while (!response.destroyed && response.write(piece));
    if (!response.destroyed) response.once('drain', more)
  }
  more()
}

for (const [what, handler, code] of FAULTS) {
  void t.test(`${what}: ${code}, and no secret is told`, async (t) => {
    const { url } = await serve(t, handler)
    const inner = await open(t, `${url.replace('//', `//user:${SECRET}@`)}/a?token=${SECRET}`, 500)
    const source = withDeadline(inner, code === 'FLIST_TIMEOUT' ? 150 : 2000)
    const error: unknown = await source.get(id, NEVER).catch((thrown: unknown) => thrown)
    t.match(error, { code, message: /^Cannot read from store "http:/ })
    const all = inspect(error, { depth: 20, showHidden: true }) + source.name
    t.notMatch(all, SECRET)
    t.notMatch(all, Buffer.from(`user:${SECRET}`).toString('base64'))
  })
}

void t.test('nobody listens: FLIST_STORE_UNREACHABLE', async (t) => {
  const { port } = await closedPort()
  const source = await open(t, `http://u:${SECRET}@127.0.0.1:${port}`)
  const error: unknown = await source.get(id, NEVER).catch((thrown: unknown) => thrown)
  t.match(error, { code: 'FLIST_STORE_UNREACHABLE', message: /ECONNREFUSED/ })
  t.notMatch(inspect(error, { depth: 20 }), SECRET)
})

async function closedPort(): Promise<{ port: number }> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return { port }
}

void t.test('redirects are followed; secrets stay at home', async (t) => {
  const away = await serve(t, (_, response) => response.end(block.stored))
  const home = await serve(t, (request, response) => {
    if (request.url?.startsWith('/moved')) response.writeHead(307, { location: `${away.url}/x` }).end()
    else response.writeHead(301, { location: '/moved' }).end()
  })
  const source = await open(t, home.url.replace('//', '//me:pw@'))
  t.ok((await source.get(id, NEVER))?.equals(block.stored))
  const basic = `Basic ${Buffer.from('me:pw').toString('base64')}`
  t.same(
    home.seen.map((request) => request.headers.authorization),
    [basic, basic],
  )
  t.same(
    away.seen.map((request) => request.headers.authorization),
    [undefined],
  )
})

void t.test('a token comes from a file, and our parameters are not sent', async (t) => {
  const file = t.testdir({ token: `${SECRET}\n` }) + '/token'
  const { url, seen } = await serve(t, (_, response) => response.end(block.stored))
  const source = await open(t, `${url}?token-file=${file}&a=1`)
  await source.get(id, NEVER)
  t.equal(seen[0]?.headers.authorization, `Bearer ${SECRET}`)
  t.match(seen[0]?.url, /\?a=1$/)
  await t.rejects(
    openSource(`${url}?token-file=${file}`, { baseDir: '/' }),
    { code: 'FLIST_STORE_DENIED' },
    'not for an archive',
  )
  await t.rejects(openSource(`${url}?token-file=${file}.no`, { baseDir: '/', trusted: true }), {
    code: 'FLIST_STORE_DENIED',
  })
  await t.rejects(openSource(`${url}?token-env=NO_SUCH_VARIABLE`, { baseDir: '/', trusted: true }), {
    code: 'FLIST_STORE_DENIED',
  })
})

void t.test('a server that denies what it does not have is asked in the other place too', async (t) => {
  const { url } = await serve(t, (request, response) => {
    if (request.url === `/${hex}`) response.end(block.stored)
    else response.writeHead(403).end()
  })
  t.equal(await (await open(t, url)).has?.(id, NEVER), true)
  t.ok((await (await open(t, url)).get(id, NEVER))?.equals(block.stored))
  const other = Buffer.alloc(32, 7)
  const denied = { code: 'FLIST_STORE_DENIED' }
  await t.rejects((await open(t, url)).get(other, NEVER), denied, 'who denies all does not say that it lacks it')
  await t.rejects(async () => (await open(t, url)).has?.(other, NEVER), denied)
})

void t.test('a secret no header may carry is not told', async (t) => {
  const file = t.testdir({ token: `${SECRET}\nx: y\n` }) + '/token'
  const { url } = await serve(t, (_, response) => response.end(block.stored))
  const source = await open(t, `${url}?token-file=${file}`)
  const error: unknown = await source.get(id, NEVER).catch((thrown: unknown) => thrown)
  t.match(error, { code: 'FLIST_STORE_DENIED' })
  t.notMatch(inspect(error, { depth: 20 }), SECRET)
})

void t.test('Retry-After is obeyed up to the deadline', async (t) => {
  let busy = 2
  const { url, seen } = await serve(t, (_, response) => {
    busy -= 1
    if (busy >= 0) response.writeHead(503, { 'retry-after': '1' }).end()
    else response.end(block.stored)
  })
  const source = await open(t, url)
  busy = 1
  const began = performance.now()
  t.ok(await retrying(source).get(id, NEVER))
  t.ok(performance.now() - began >= 990, 'waited the second asked for')
  t.equal(seen.length, 2)
  busy = 1
  await t.rejects(retrying(source, { totalMs: 500 }).get(id, NEVER), { code: 'FLIST_STORE_UNREACHABLE' })
  t.equal(seen.length, 3, 'no try after the deadline, no waiting for it')
})

void t.test('retryAfterMs() reads seconds and dates', async (t) => {
  t.equal(retryAfterMs('7'), 7000)
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:09 GMT', 4000), 5000)
  t.equal(retryAfterMs('Thu, 01 Jan 1970 00:00:01 GMT', 4000), 0)
  t.equal(retryAfterMs('soon'), 1000)
  t.equal(retryAfterMs(''), 1000)
})

void t.test('connections are limited', async (t) => {
  let busy = 0
  let most = 0
  const { url } = await serve(t, (_, response) => {
    busy += 1
    most = Math.max(most, busy)
    setImmediate(() => {
      busy -= 1
      response.end(block.stored)
    })
  })
  const source = await open(t, url)
  await Promise.all(Array.from({ length: 4 * LIMITS.connectionsPerStore }, () => source.get(id, NEVER)))
  t.ok(most > 1 && most <= LIMITS.connectionsPerStore, `${most} at a time`)
})
