import { readFileSync, writeFileSync } from 'node:fs'
import {
  createServer as createPlain,
  type IncomingMessage,
  request as plainRequest,
  type ServerResponse,
} from 'node:http'
import { createServer, type ServerOptions } from 'node:https'
import { type AddressInfo, connect, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { openSource } from '../../lib/store/open.ts'
import type { BlockSource } from '../../lib/store/port.ts'
import { resolveArchive } from '../../lib/store/archive-name.ts'
import { tlsError } from '../../lib/store/tls-errors.ts'
import { makeBlock, NEVER } from './blocks.ts'
import { makeCertificates, NO_OPENSSL, pairOf } from './certificates.ts'

const block = await makeBlock(20_000)
const { id } = block.ref
const dir = t.testdir({})
const path = (name: string): string => join(dir, name)
for (const name of [
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
  'FLISTFS_CA_FILE',
])
  delete process.env[name]

if (NO_OPENSSL === false) makeCertificates(dir)

function answer(_request: IncomingMessage, response: ServerResponse): void {
  response.end(block.stored)
}

async function listening(t: Test, server: Server & { closeAllConnections?(): void }, host = '[::1]'): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, host.replace(/^\[|\]$/g, ''), resolve))
  t.teardown(() => {
    server.closeAllConnections?.()
    server.close()
  })
  return `${host}:${(server.address() as AddressInfo).port}`
}

function secure(t: Test, options: ServerOptions = {}): Promise<string> {
  return listening(t, createServer({ ...pairOf(dir, 'server'), ...options }, answer))
}

async function open(t: Test, url: string, trusted = true): Promise<BlockSource> {
  const source = await openSource(url, { baseDir: '/', trusted, timeoutMs: 60_000 })
  t.teardown(() => source[Symbol.asyncDispose]())
  return source
}

async function failure(t: Test, url: string): Promise<unknown> {
  const error: unknown = await open(t, url)
    .then((source) => source.get(id, NEVER))
    .then(
      () => new Error('it gave the block'),
      (thrown: unknown) => thrown,
    )
  t.notMatch(inspect(error, { depth: 20, showHidden: true }), 'hunter2')
  return error
}

function setting(t: Test, name: string, value: string): void {
  process.env[name] = value
  t.teardown(() => delete process.env[name])
}

void t.test('an authority of our own', { skip: NO_OPENSSL }, async (t) => {
  const host = await secure(t)
  t.match(await failure(t, `https://${host}`), {
    code: 'FLIST_STORE_PROTOCOL',
    message: /nobody we trust/,
    hint: /ca-file/,
  })
  for (const url of [`https://${host}?`, `server://https://${host}?`, `s3s://k:s@${host}/b?`]) {
    t.ok(await (await open(t, `${url}ca-file=${path('ca.pem')}`)).get(id, NEVER), url)
  }
  await t.rejects(open(t, `https://${host}?ca-file=${path('ca.pem')}`, false), { code: 'FLIST_STORE_DENIED' })
  await t.rejects(open(t, `https://${host}?ca-file=${path('none')}`), { code: 'FLIST_STORE_DENIED', message: /ENOENT/ })
  await t.rejects(open(t, `https://${host}?ca-file=${path('san')}`), {
    code: 'FLIST_STORE_DENIED',
    message: /TLS files/,
  })
  const options = { cacheDir: t.testdir({}), hub: undefined, digest: undefined }
  const distrust = { code: 'FLIST_STORE_UNREACHABLE', message: /nobody we trust signed/, hint: /FLISTFS_CA_FILE/ }
  await t.rejects(resolveArchive(`https://${host}/a.fl`, options, NEVER), distrust)
  setting(t, 'FLISTFS_CA_FILE', path('ca.pem'))
  t.ok(await (await open(t, `https://${host}`, false)).get(id, NEVER), 'the variable holds for all')
  const archive = await resolveArchive(`https://${host}/a.fl`, options, NEVER)
  t.ok(readFileSync(archive.path).equals(block.stored), 'for archives too')
})

void t.test('tlsError() tells what kind of trouble it is', async (t) => {
  t.match(tlsError('x', 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED'), { code: 'FLIST_STORE_DENIED', hint: /cert-file/ })
  t.match(tlsError('x', 'ERR_SSL_WRONG_VERSION_NUMBER'), { code: 'FLIST_STORE_PROTOCOL', hint: /speaks TLS/ })
  t.match(tlsError('x', 'CERT_HAS_EXPIRED'), { code: 'FLIST_STORE_PROTOCOL', message: /expired/ })
})

void t.test('TLS to a port that speaks none', async (t) => {
  const host = await listening(t, createPlain(answer))
  t.match(await failure(t, `https://${host}`), { hint: /speaks TLS/ })
  const options = { cacheDir: t.testdir({}), hub: undefined, digest: undefined }
  await t.rejects(resolveArchive(`https://${host}/a.fl`, options, NEVER), {
    message: /TLS failed \(ERR_SSL/,
    hint: /speaks TLS/,
  })
})

void t.test('a client certificate', { skip: NO_OPENSSL }, async (t) => {
  const host = await secure(t, { requestCert: true, rejectUnauthorized: true, ca: readFileSync(path('ca.pem')) })
  const url = `https://${host}?ca-file=${path('ca.pem')}`
  t.match(await failure(t, url), { hint: /cert-file/ })
  t.ok(await (await open(t, `${url}&cert-file=${path('client.pem')}&key-file=${path('client.key')}`)).get(id, NEVER))
  writeFileSync(path('both.pem'), readFileSync(path('client.pem'), 'utf8') + readFileSync(path('client.key'), 'utf8'))
  t.ok(await (await open(t, `${url}&cert-file=${path('both.pem')}`)).get(id, NEVER), 'both in one file')
  await t.rejects(open(t, `${url}&key-file=${path('client.key')}`), { code: 'FLIST_USAGE' })
  const misfit = `${url}&cert-file=${path('client.pem')}&key-file=${path('server.key')}`
  await t.rejects(open(t, misfit), { code: 'FLIST_STORE_DENIED', message: /TLS files/ })
})

void t.test(
  'certificates that are replaced in their files are used without opening anew',
  { skip: NO_OPENSSL },
  async (t) => {
    const host = await secure(t, { requestCert: true, rejectUnauthorized: true, ca: readFileSync(path('ca.pem')) })
    const own = t.testdir({})
    // Of an authority that nobody here knows.
    makeCertificates(own)
    const put = (name: string): void => writeFileSync(join(own, name), readFileSync(path(name)))
    const files = `ca-file=${own}/ca.pem&cert-file=${own}/client.pem&key-file=${own}/client.key`
    const source = await open(t, `https://${host}?${files}`)
    const fails = (): Promise<unknown> => source.get(id, NEVER).catch((error: unknown) => error)
    t.match(await fails(), { code: 'FLIST_STORE_PROTOCOL', message: /nobody we trust/ })
    put('ca.pem')
    const refused = await fails()
    t.match(refused, { hint: /cert-file/ }, 'now it is the server that does not know us')
    put('client.key')
    t.match(await fails(), { hint: /cert-file/ }, 'half of a change is none')
    put('client.pem')
    const all = await Promise.all([1, 2, 3].map(() => source.get(id, NEVER)))
    t.ok(all.every((stored) => stored?.equals(block.stored)))
  },
)

interface Proxy {
  readonly host: string
  /** Request lines. */
  readonly seen: string[]
  /** The last Proxy-Authorization. */
  login: string | undefined
  /** The names in certificates of those who asked for tunnels; `undefined` where there was none. */
  readonly certificates: string[]
}

/** A proxy that forwards and tunnels; with `refuses` it answers that status. */
async function startProxy(t: Test, refuses?: number, tls?: ServerOptions, address = '[::1]'): Promise<Proxy> {
  const proxy = {
    host: '',
    seen: [] as string[],
    login: undefined as string | undefined,
    certificates: [] as string[],
  }
  const forward = (request: IncomingMessage, response: ServerResponse): void => {
    proxy.seen.push(`${request.method} ${request.url}`)
    proxy.login = request.headers['proxy-authorization']
    if (refuses !== undefined) return void response.writeHead(refuses).end()
    request.pipe(
      plainRequest(request.url ?? '', { headers: request.headers }, (got) => {
        response.writeHead(got.statusCode ?? 500, got.headers)
        got.pipe(response)
      }),
    )
  }
  const server = tls === undefined ? createPlain(forward) : createServer(tls, forward)
  server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    proxy.seen.push(`${request.method} ${request.url}`)
    proxy.login = request.headers['proxy-authorization']
    if (refuses !== undefined) return void socket.end(`HTTP/1.1 ${refuses} No\r\n\r\n`)
    if (socket instanceof TLSSocket) proxy.certificates.push(String(socket.getPeerCertificate()?.subject?.CN))
    const { port, hostname } = new URL(`http://${request.url}`)
    const upstream = connect(Number(port), hostname.replace(/^\[|\]$/g, ''), () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      upstream.write(head)
      upstream.pipe(socket).on('error', () => upstream.destroy())
      socket.pipe(upstream).on('error', () => socket.destroy())
    })
    t.teardown(() => upstream.destroy())
  })
  proxy.host = await listening(t, server, address)
  return proxy
}

void t.test('a proxy of the environment', { skip: NO_OPENSSL }, async (t) => {
  const proxy = await startProxy(t)
  const plain = await listening(t, createPlain(answer))
  const tls = await secure(t)
  for (const [variable, url, line] of [
    ['http_proxy', `http://${plain}`, `GET http://${plain}/`],
    ['HTTP_PROXY', `server://http://${plain}`, `GET http://${plain}/api/v1/block/`],
    ['http_proxy', `s3://k:s@${plain}/b`, `GET http://${plain}/b/`],
    ['https_proxy', `https://${tls}?ca-file=${path('ca.pem')}`, `CONNECT ${tls}`],
    ['HTTPS_PROXY', `s3s://k:s@${tls}/b?ca-file=${path('ca.pem')}`, `CONNECT ${tls}`],
  ] as const) {
    await t.test(`${variable} for ${url.slice(0, 10)}`, async (t) => {
      proxy.seen.length = 0
      setting(t, variable, `http://me:hunter2@${proxy.host}`)
      t.ok((await (await open(t, url)).get(id, NEVER))?.equals(block.stored))
      t.equal(proxy.seen.length, 1)
      t.ok(proxy.seen[0]?.startsWith(line), `${proxy.seen[0]} is ${line}`)
      t.equal(proxy.login, `Basic ${Buffer.from('me:hunter2').toString('base64')}`)
      setting(t, 'no_proxy', 'example.org,::1')
      t.ok(await (await open(t, url)).get(id, NEVER))
      t.equal(proxy.seen.length, 1, 'no_proxy')
    })
  }
  await t.test('archives', async (t) => {
    proxy.seen.length = 0
    setting(t, 'http_proxy', `http://${proxy.host}`)
    const options = { cacheDir: t.testdir({}), hub: undefined, digest: undefined, onProgress: undefined }
    await resolveArchive(`http://${plain}/a.fl`, { ...options, onWarning: () => undefined }, NEVER)
    t.equal(proxy.seen[0], `GET http://${plain}/a.fl`)
  })
})

for (const address of ['[::1]', 'localhost']) {
  void t.test(`certificates in a store's URL are not for the proxy ${address}`, { skip: NO_OPENSSL }, async (t) => {
    // Of another authority.
    const theirs = t.testdir({})
    makeCertificates(theirs)
    const asking = { requestCert: true, rejectUnauthorized: false }
    const proxy = await startProxy(t, undefined, { ...pairOf(theirs, 'server'), ...asking }, address)
    const host = await secure(t, { requestCert: true, rejectUnauthorized: true, ca: readFileSync(path('ca.pem')) })
    setting(t, 'https_proxy', `https://${proxy.host}`)
    setting(t, 'FLISTFS_CA_FILE', join(theirs, 'ca.pem'))
    const files = `ca-file=${path('ca.pem')}&cert-file=${path('client.pem')}&key-file=${path('client.key')}`
    t.ok((await (await open(t, `https://${host}?${files}`)).get(id, NEVER))?.equals(block.stored))
    t.strictSame(proxy.seen, [`CONNECT ${host}`])
    t.strictSame(proxy.certificates, ['undefined'], 'who we are to the store the proxy does not learn')
    const liar = await startProxy(t, undefined, { ...pairOf(theirs, 'elsewhere') }, address)
    setting(t, 'https_proxy', `https://${liar.host}`)
    t.match(await failure(t, `https://${host}?${files}`), { message: /the certificate of the proxy is not its own/ })
    t.strictSame(liar.seen, [])
  })
}

void t.test('a proxy that is of no use', { skip: NO_OPENSSL }, async (t) => {
  const proxy = await startProxy(t, 407)
  const [plain, tls] = [await listening(t, createPlain(answer)), await secure(t)]
  setting(t, 'http_proxy', `http://u:hunter2@${proxy.host}`)
  t.match(await failure(t, `http://${plain}`), { code: 'FLIST_STORE_DENIED', message: /proxy/, hint: /http_proxy/ })
  setting(t, 'https_proxy', `http://u:hunter2@${proxy.host}`)
  t.match(await failure(t, `https://${tls}`), { code: 'FLIST_STORE_DENIED', message: /the proxy wants a password/ })
  const closed = await startProxy(t, 403)
  setting(t, 'https_proxy', `http://u:hunter2@${closed.host}`)
  t.match(await failure(t, `https://${tls}`), { code: 'FLIST_STORE_UNREACHABLE', message: /the proxy refused/ })
  setting(t, 'https_proxy', 'http://u:hunter2@[::1]:1')
  t.match(await failure(t, `https://${tls}`), { code: 'FLIST_STORE_UNREACHABLE' })
  setting(t, 'http_proxy', 'hunter2')
  t.match(await failure(t, `http://${plain}`), { code: 'FLIST_USAGE', message: /"http_proxy"/ })
  setting(t, 'http_proxy', `http://u:hunter2%zz@${proxy.host}`)
  const broken = { code: 'FLIST_USAGE', message: /"http_proxy": its login has a broken %/, hint: /%25/ }
  t.match(await failure(t, `http://${plain}`), broken)
  const options = { cacheDir: t.testdir({}), hub: undefined, digest: undefined }
  await t.rejects(resolveArchive(`http://${plain}/a.fl`, options, NEVER), broken)
})
