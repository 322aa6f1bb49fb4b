import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { resolveArchive, type ResolveOptions } from '../../lib/store/archive-name.ts'

const { signal } = new AbortController()
const CONTENT = Buffer.from('an archive '.repeat(20_000))
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
const md5 = (bytes: Buffer): string => createHash('md5').update(bytes).digest('hex')

type Answer = (request: IncomingMessage, response: ServerResponse) => void

/** A real server on the loopback; `log` has each request's method, path and condition. */
class Hub {
  readonly server: Server
  readonly log: string[] = []
  readonly headers: IncomingMessage['headers'][] = []
  answers: Record<string, Answer> = {}
  origin = ''

  constructor() {
    this.server = createServer((request, response) => {
      const path = request.url ?? ''
      const condition = request.headers['if-none-match'] ?? request.headers['if-modified-since']
      this.log.push(condition === undefined ? path : `${path} unless ${condition}`)
      this.headers.push(request.headers)
      const answer = this.answers[path]
      if (answer) return answer(request, response)
      response.writeHead(404).end('<html>no')
    })
  }

  async start(t: Test, host = '127.0.0.1'): Promise<this> {
    this.server.listen(0, host)
    await once(this.server, 'listening')
    const { port } = this.server.address() as AddressInfo
    this.origin = `http://${host.includes(':') ? `[${host}]` : host}:${port}`
    t.teardown(() => this.stop())
    return this
  }

  stop(): void {
    this.server.closeAllConnections()
    this.server.close()
  }
}

function file(content: Buffer, headers: Record<string, string> = {}): Answer {
  return (request, response) => {
    const { etag, 'last-modified': since } = headers
    const fresh =
      etag === undefined ? request.headers['if-modified-since'] === since : request.headers['if-none-match'] === etag
    if ((etag ?? since) !== undefined && fresh) return void response.writeHead(304, headers).end()
    response.writeHead(200, { 'content-length': String(content.length), ...headers }).end(content)
  }
}

const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (_, response) =>
    void response.writeHead(code, headers).end('answer')

function options(t: Test, fields: Partial<ResolveOptions> = {}): ResolveOptions & { warnings: string[] } {
  const warnings: string[] = []
  return { cacheDir: join(t.testdir(), 'cache'), onWarning: (text) => warnings.push(text), warnings, ...fields }
}

t.test('resolveArchive() says why a path cannot be looked at', async (t) => {
  const at = options(t)
  const path = join(t.testdir({}), 'loop.fl')
  symlinkSync('loop.fl', path)
  await t.rejects(resolveArchive(path, at, signal), {
    code: 'FLIST_NOT_FOUND',
    message: /loop\.fl": its links lead in a circle \(ELOOP\)/,
  })
})

t.test('resolveArchive() takes a path as it is', async (t) => {
  const dir = t.testdir({ 'a.fl': 'x', user: { 'b.flist': 'y' }, folder: {} })
  const at = { cacheDir: join(dir, 'cache') }
  t.strictSame(await resolveArchive(join(dir, 'a.fl'), at, signal), {
    path: join(dir, 'a.fl'),
    name: join(dir, 'a.fl'),
    baseDir: dir,
  })
  t.equal((await resolveArchive(`file://${dir}/a.fl`, at, signal)).path, join(dir, 'a.fl'))
  for (const name of [join(dir, 'absent.fl'), join(dir, 'folder'), 'nothing', './user/name.flist']) {
    await t.rejects(resolveArchive(name, at, signal), { code: 'FLIST_NOT_FOUND' }, name)
  }
  for (const name of [
    'http://user:secret@[bad/',
    'http://user:/secret@host/a.fl',
    'http://user:a/secret@host/',
    'file://%%%',
  ]) {
    await t.rejects(resolveArchive(name, at, signal), { code: 'FLIST_USAGE', message: /^(?!.*secret)/ }, name)
  }
})

for (const host of ['127.0.0.1', '::1']) {
  t.test(`resolveArchive() fetches once from ${host} and asks whether it changed`, async (t) => {
    const hub = await new Hub().start(t, host)
    hub.answers = {
      '/u/a.flist': file(CONTENT, { etag: '"one"' }),
      '/u/a.flist.md5': status(404),
    }
    const at = options(t)
    const first = await resolveArchive(`${hub.origin}/u/a.flist`, at, signal)
    t.strictSame(readFileSync(first.path), CONTENT)
    t.equal(first.path, join(at.cacheDir, 'v1/archives', sha256(CONTENT)))
    t.equal(first.baseDir, process.cwd())
    t.strictSame(await resolveArchive(`${hub.origin}/u/a.flist`, at, signal), first)
    t.strictSame(hub.log, ['/u/a.flist', '/u/a.flist.md5', '/u/a.flist unless "one"'])

    hub.answers['/u/a.flist'] = file(Buffer.from('changed'), { etag: '"two"' })
    t.equal(String(readFileSync((await resolveArchive(`${hub.origin}/u/a.flist`, at, signal)).path)), 'changed')
    t.strictSame(readdirSync(join(at.cacheDir, 'v1/archives')).length, 2, 'both are kept, and nothing else')
    t.strictSame(at.warnings, [])
  })
}

t.test('resolveArchive() asks by date where there is no ETag', async (t) => {
  const hub = await new Hub().start(t)
  const date = 'Mon, 01 Jan 2024 00:00:00 GMT'
  hub.answers = { '/a.fl': file(CONTENT, { 'last-modified': date }) }
  const at = options(t)
  await resolveArchive(`${hub.origin}/a.fl`, at, signal)
  await resolveArchive(`${hub.origin}/a.fl`, at, signal)
  t.equal(hub.log.at(-1), `/a.fl unless ${date}`)
})

t.test('resolveArchive() fetches again when the kept file is gone or cut', async (t) => {
  const hub = await new Hub().start(t)
  hub.answers = { '/a.fl': file(CONTENT, { etag: '"one"' }) }
  const at = options(t)
  const { path } = await resolveArchive(`${hub.origin}/a.fl`, at, signal)
  writeFileSync(path, 'cut')
  await resolveArchive(`${hub.origin}/a.fl`, at, signal)
  t.strictSame(readFileSync(path), CONTENT)
})

t.test('resolveArchive() compares with the MD5 of a hub', async (t) => {
  const hub = await new Hub().start(t)
  const at = options(t, { hub: `${hub.origin}/base/` })
  hub.answers = { '/base/u/a.flist': file(CONTENT), '/base/u/a.flist.md5': file(Buffer.from(`${md5(CONTENT)}\n`)) }
  const { name, path } = await resolveArchive('u/a.flist', at, signal)
  t.equal(name, 'u/a.flist')
  t.strictSame(readFileSync(path), CONTENT)
  hub.answers['/base/u/a.flist.md5'] = file(Buffer.from(`${'0'.repeat(32)}\n`))
  await t.rejects(resolveArchive('u/a.flist', at, signal), { code: 'FLIST_DIGEST_MISMATCH' })
  t.strictSame(readdirSync(join(at.cacheDir, 'v1/archives')), [sha256(CONTENT)], 'nothing of the bad one is kept')
  hub.answers['/base/u/a.flist.md5'] = file(Buffer.from('<html>Welcome</html>'))
  t.equal((await resolveArchive('u/a.flist', at, signal)).path, path, 'a page is no sum')
  hub.answers['/base/u/tags/v1/a.flist'] = file(CONTENT)
  t.equal((await resolveArchive('u/tags/v1/a.flist', at, signal)).path, path)
})

t.test('resolveArchive() honours a pinned digest', async (t) => {
  const hub = await new Hub().start(t)
  hub.answers = { '/a.fl': file(CONTENT, { etag: '"one"' }) }
  const good = options(t, { digest: sha256(CONTENT) })
  await t.rejects(resolveArchive(`${hub.origin}/a.fl`, { ...good, digest: '0'.repeat(64) }, signal), {
    code: 'FLIST_DIGEST_MISMATCH',
  })
  t.strictSame(readdirSync(join(good.cacheDir, 'v1/archives')), [])
  const { path } = await resolveArchive(`${hub.origin}/a.fl`, good, signal)
  const asked = hub.log.length
  t.equal((await resolveArchive(`${hub.origin}/a.fl`, good, signal)).path, path)
  t.equal((await resolveArchive('http://never.invalid/other.fl', good, signal)).path, path)
  t.equal(hub.log.length, asked, 'a kept copy needs no network')
  await t.rejects(resolveArchive(`${hub.origin}/a.fl`, { ...good, digest: '1'.repeat(64) }, signal), {
    code: 'FLIST_DIGEST_MISMATCH',
  })
})

t.test('resolveArchive() uses the kept copy, with a warning, when the network fails', async (t) => {
  const hub = await new Hub().start(t)
  hub.answers = { '/a.fl': file(CONTENT, { etag: '"one"' }) }
  const at = options(t)
  const url = `${hub.origin.replace('//', '//me:secret@')}/a.fl?token=hidden`
  hub.answers['/a.fl?token=hidden'] = file(CONTENT, { etag: '"one"' })
  const { path, name } = await resolveArchive(url, at, signal)
  t.notMatch(name, /secret|hidden/)
  t.equal(hub.headers[0]?.authorization, `Basic ${Buffer.from('me:secret').toString('base64')}`)
  hub.answers['/a.fl?token=hidden'] = status(503)
  t.equal((await resolveArchive(url, at, signal)).path, path)
  hub.stop()
  t.equal((await resolveArchive(url, at, signal)).path, path)
  t.equal(at.warnings.length, 2)
  t.match(at.warnings[1], /using the copy of/)
  t.notMatch(at.warnings.join(), /secret|hidden/)
  const kept = readdirSync(join(at.cacheDir, 'v1/urls')).map((file) =>
    readFileSync(join(at.cacheDir, 'v1/urls', file), 'utf8'),
  )
  t.notMatch(kept.join(), /secret|hidden/, 'no record holds a secret')
  const fresh = { ...at, cacheDir: `${at.cacheDir}-2` }
  const failure = await resolveArchive(url, fresh, signal).catch((error: Error) => error)
  t.match(failure, { code: 'FLIST_STORE_UNREACHABLE', message: /^(?!.*(?:secret|hidden))/ })
})

t.test('resolveArchive() says what a server refused, and tries again what may pass', async (t) => {
  const hub = await new Hub().start(t)
  const at = options(t)
  for (const [code, wanted] of [
    [404, 'FLIST_NOT_FOUND'],
    [410, 'FLIST_NOT_FOUND'],
    [401, 'FLIST_STORE_DENIED'],
    [403, 'FLIST_STORE_DENIED'],
    [400, 'FLIST_STORE_PROTOCOL'],
    [304, 'FLIST_STORE_PROTOCOL'],
  ] as const) {
    hub.answers = { '/a.fl': status(code) }
    await t.rejects(resolveArchive(`${hub.origin}/a.fl`, at, signal), { code: wanted }, String(code))
  }
  t.equal(hub.log.length, 6)
  let failures = 2
  hub.answers = { '/a.fl': (request, response) => (failures-- > 0 ? status(500) : file(CONTENT))(request, response) }
  t.strictSame(readFileSync((await resolveArchive(`${hub.origin}/a.fl`, at, signal)).path), CONTENT)
})

t.test('resolveArchive() tells a host what the credentials file says of it', async (t) => {
  const hub = await new Hub().start(t)
  hub.answers = {
    '/a.fl': file(CONTENT),
    '/away.fl': (_request, response) => void response.writeHead(302, { location: `${other.origin}/a.fl` }).end(),
  }
  const other = await new Hub().start(t)
  other.answers = { '/a.fl': file(CONTENT) }
  const at = options(t)
  const config = join(at.cacheDir, 'config')
  mkdirSync(join(config, 'flistfs'), { recursive: true })
  const path = join(config, 'flistfs/credentials.toml')
  const write = (fields: string): void =>
    writeFileSync(path, `["${new URL(hub.origin).host}"]\n${fields}`, { mode: 0o600 })
  const before = process.env['XDG_CONFIG_HOME']
  process.env['XDG_CONFIG_HOME'] = config
  t.teardown(() => {
    if (before === undefined) delete process.env['XDG_CONFIG_HOME']
    else process.env['XDG_CONFIG_HOME'] = before
  })
  write('user = "me"\npassword = "secret"\n')
  await resolveArchive(`${hub.origin}/a.fl`, at, signal)
  t.equal(hub.headers.at(0)?.authorization, undefined, 'not without TLS')
  write('user = "me"\npassword = "secret"\nplain_http = true\n')
  await resolveArchive(`${hub.origin}/away.fl`, at, signal)
  t.equal(hub.headers.at(-1)?.authorization, `Basic ${Buffer.from('me:secret').toString('base64')}`)
  t.strictSame(
    other.headers.map(({ authorization }) => authorization).filter((each) => each !== undefined),
    [],
    'nor to another host',
  )
  write('token = "abc"\nuser = "me"\nplain_http = true\n')
  await resolveArchive(`${hub.origin}/a.fl`, at, signal)
  t.equal(hub.headers.at(-1)?.authorization, 'Bearer abc')
})

t.test('resolveArchive() follows redirects, without taking the password elsewhere', async (t) => {
  const hub = await new Hub().start(t)
  const other = await new Hub().start(t, '::1')
  other.answers = { '/real.fl': file(CONTENT) }
  hub.answers = {
    '/a.fl': status(302, { location: `${other.origin}/real.fl` }),
    '/loop': status(301, { location: '/loop' }),
    '/file': status(301, { location: 'file:///etc/passwd' }),
    '/nowhere': status(301),
  }
  const at = options(t)
  const { path } = await resolveArchive(`${hub.origin.replace('//', '//me:secret@')}/a.fl`, at, signal)
  t.strictSame(readFileSync(path), CONTENT)
  t.equal(other.headers[0]?.authorization, undefined)
  for (const name of ['loop', 'file', 'nowhere']) {
    await t.rejects(resolveArchive(`${hub.origin}/${name}`, at, signal), { code: 'FLIST_STORE_PROTOCOL' }, name)
  }
})

t.test('resolveArchive() believes no answer that is cut, empty or too large', async (t) => {
  const hub = await new Hub().start(t)
  const at = options(t)
  hub.answers = {
    '/cut': (_, response) => {
      response.writeHead(200, { 'content-length': '1000' })
      response.write('half', () => response.destroy())
    },
    '/empty': file(Buffer.alloc(0)),
    '/large': (_, response) => void response.writeHead(200, { 'content-length': String(2 ** 40) }).write('x'),
  }
  await t.rejects(resolveArchive(`${hub.origin}/cut`, at, signal), {
    code: 'FLIST_STORE_UNREACHABLE',
    message: /the connection broke/,
  })
  await t.rejects(resolveArchive(`${hub.origin}/empty`, at, signal), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(resolveArchive(`${hub.origin}/large`, at, signal), { code: 'FLIST_LIMIT' })
  t.strictSame(readdirSync(join(at.cacheDir, 'v1/archives')), [])
})

t.test('resolveArchive() gives up on a server that trickles', async (t) => {
  const hub = await new Hub().start(t)
  const trickle = (piece: Buffer): Answer => {
    return (_, response) => {
      response.writeHead(200, { 'content-length': String(4 * piece.length) })
      const timer = setInterval(() => response.write(piece), 20)
      response.on('close', () => clearInterval(timer))
    }
  }
  hub.answers = { '/slow': trickle(Buffer.alloc(4000)), '/steady': trickle(Buffer.alloc(40_000)) }
  let pieces = 0
  // Each piece comes 31 seconds after the one before it.
  const at = options(t, { now: () => 31_000 * pieces++ })
  await t.rejects(resolveArchive(`${hub.origin}/slow`, at, signal), {
    code: 'FLIST_TIMEOUT',
    message: /\/slow": only 4000 bytes came in 30 s/,
  })
  const { path } = await resolveArchive(`${hub.origin}/steady`, at, signal)
  t.equal(readFileSync(path).length, 160_000)
})

t.test('resolveArchive() reads no page of a refusal or a redirect to its end', async (t) => {
  const hub = await new Hub().start(t)
  const endless =
    (code: number, headers: Record<string, string> = {}): Answer =>
    (_, response) => {
      response.writeHead(code, headers)
      const timer = setInterval(() => response.write('and so on'), 100)
      response.on('close', () => clearInterval(timer))
    }
  hub.answers = {
    '/absent.fl': endless(404),
    '/busy.fl': endless(503),
    '/a.fl': endless(302, { location: '/b.fl' }),
    '/b.fl': file(CONTENT),
  }
  const at = options(t)
  await t.rejects(resolveArchive(`${hub.origin}/absent.fl`, at, signal), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(resolveArchive(`${hub.origin}/busy.fl`, at, signal), { code: 'FLIST_STORE_UNREACHABLE' })
  t.strictSame(readFileSync((await resolveArchive(`${hub.origin}/a.fl`, at, signal)).path), CONTENT)
})

t.test('resolveArchive() says that it is the cache that cannot be written', async (t) => {
  const hub = await new Hub().start(t)
  hub.answers = { '/a.fl': file(CONTENT) }
  const dir = t.testdir({ one: { v1: { archives: 'a file' } }, two: { v1: { urls: 'a file' } } })
  const at = { cacheDir: join(dir, 'one') }
  await t.rejects(resolveArchive(`${hub.origin}/a.fl`, at, signal), {
    code: 'FLIST_CACHE_UNUSABLE',
    message: /archives": a part of the path is no folder/,
    hint: /--cache/,
  })
  t.strictSame(hub.log, ['/a.fl'], 'asked once')

  const warnings: string[] = []
  const other = { cacheDir: join(dir, 'two'), onWarning: (text: string) => warnings.push(text) }
  t.strictSame(readFileSync((await resolveArchive(`${hub.origin}/a.fl`, other, signal)).path), CONTENT)
  t.match(warnings, [/urls": a part of the path is no folder/])
})

t.test('resolveArchive() takes away what killed processes left half written', async (t) => {
  const hub = await new Hub().start(t)
  hub.answers = { '/a.fl': file(CONTENT) }
  const at = options(t)
  const hash = 'a'.repeat(64)
  const torn = ['archives/.0123456789abcdef.tmp', `urls/${hash}.json.0123456789ab.tmp`, `index/3/${hash}.idx.7.k2j.tmp`]
  const kept = ['archives/.fedcba9876543210.tmp', 'archives/.mine.tmp', `index/3/${hash}.idx`]
  for (const name of [...torn, ...kept]) {
    const path = join(at.cacheDir, 'v1', name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, 'half')
    if (name !== kept[0]) utimesSync(path, 1000, 1000)
  }
  await resolveArchive(`${hub.origin}/a.fl`, at, signal)
  for (const name of torn) t.notOk(existsSync(join(at.cacheDir, 'v1', name)), name)
  for (const name of kept) t.ok(existsSync(join(at.cacheDir, 'v1', name)), `${name} stays`)
})

t.test('resolveArchive() ends when its signal does, and tells how far it is', async (t) => {
  const hub = await new Hub().start(t)
  const seen: (number | undefined)[][] = []
  const stopping = new AbortController()
  hub.answers = {
    '/slow': (_, response) => void response.writeHead(200, { 'content-length': '1000' }).write('begin'),
    '/chunked': (_, response) => void response.end(CONTENT),
  }
  const at = options(t, {
    onProgress: (bytes, total) => {
      seen.push([bytes, total])
      stopping.abort()
    },
  })
  await t.rejects(resolveArchive(`${hub.origin}/slow`, at, stopping.signal), { code: 'FLIST_INTERRUPTED' })
  t.strictSame(seen[0], [5, 1000])
  await resolveArchive(`${hub.origin}/chunked`, at, signal)
  t.equal(seen.at(-1)?.[0], CONTENT.length)
})
