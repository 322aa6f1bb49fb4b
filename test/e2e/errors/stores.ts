import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer as createSecure } from 'node:https'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { type Behaviour, BlockServer } from '../block-server.ts'
import { type Done, lacks, until } from '../mounted.ts'
import { packFiles } from '../pack-tree.ts'
import { ACCESS, NO_S3, startGateway } from '../../store/versitygw.ts'
import { SAMPLE, webServer } from './archives.ts'
import { type ErrorCase, flistfs, fresh, type Place, SECRET } from './error-case.ts'

const FILE = 'etc/debian_version'
/** Nobody listens there. */
const CLOSED = '127.0.0.1:1'

function cat(place: Place, store: string, env: Readonly<Record<string, string>> = {}): Promise<Done> {
  return flistfs(place, ['cat', SAMPLE, FILE, '--store', store, '--cache', fresh(place, 'cache')], env)
}

/** Reads one file of a store that behaves like this. */
async function catFrom(place: Place, behaviour: Behaviour, ...words: readonly string[]): Promise<Done> {
  const { archive, store } = await packFiles(place.lab.dir, fresh(place, 'a').slice(place.lab.dir.length + 1), {
    file: randomBytes(5000),
  })
  const server = await BlockServer.open(place.t, store)
  server.behaviour = behaviour
  const url = server.url.replace('//', `//user:${SECRET}@`)
  return flistfs(place, ['cat', archive, 'file', ...words], { FLISTFS_STORE: url })
}

/** Asks for a file of a store that says nothing, and gets a signal as from Ctrl-C. */
async function interrupted(place: Place): Promise<Done> {
  const { archive, store } = await packFiles(place.lab.dir, 'interrupted', { file: randomBytes(5000) })
  const server = await BlockServer.open(place.t, store)
  server.behaviour = 'stall'
  // Through `sh`, as all others: the launcher becomes the program.
  const child = place.lab.startFlistfs(['cat', archive, 'file', '--store', server.url, '--json'])
  const out: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
  for (const name of ['stdout', 'stderr'] as const) child[name]?.on('data', (bytes: Buffer) => out[name].push(bytes))
  const closed = once(child, 'close')
  await until(() => server.requests > 0)
  child.kill('SIGINT')
  const [code] = (await closed) as [number | null]
  return { code: code ?? -1, stdout: Buffer.concat(out.stdout), stderr: Buffer.concat(out.stderr).toString() }
}

/** A server that says this to each word of a client. */
async function talker({ t }: Place, words: string): Promise<string> {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('data', () => socket.write(words))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** For `openssl ca`: other commands of older versions make no certificate for a time that is over. */
const AUTHORITY = `[ca]
default_ca = own
[own]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = policy
x509_extensions = extensions
[policy]
commonName = supplied
[extensions]
subjectAltName = IP:127.0.0.1
[req]
distinguished_name = name
[name]
`

/** A web server with a certificate that only itself has signed, for these days. */
async function secureServer(place: Place, from: string, to: string): Promise<{ url: string; certificate: string }> {
  const folder = fresh(place, 'certificates')
  mkdirSync(folder)
  for (const [name, text] of Object.entries({ index: '', serial: '01', config: AUTHORITY }))
    writeFileSync(join(folder, name), text)
  const openssl = (...words: readonly string[]): void =>
    void execFileSync('openssl', words, { cwd: folder, stdio: 'ignore', timeout: 120_000 })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'key']
  openssl('req', '-new', ...key, '-subj', '/CN=test', '-config', 'config', '-out', 'request')
  const sign = ['-batch', '-selfsign', '-notext', '-config', 'config', '-keyfile', 'key', '-in', 'request']
  openssl('ca', ...sign, '-startdate', from, '-enddate', to, '-out', 'certificate')
  const [privateKey, cert] = ['key', 'certificate'].map((name) => readFileSync(join(folder, name)))
  const server = createSecure({ key: privateKey, cert }, (_request, response) => response.end())
  server.on('tlsClientError', () => undefined)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  place.t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return { url: `https://127.0.0.1:${port}`, certificate: join(folder, 'certificate') }
}

/** redis-server with a password, as a zdb with one would be. */
async function redis(place: Place): Promise<string> {
  const socket = join(place.lab.dir, 'redis.sock')
  const child = place.lab.start('redis-server', ['--port', '0', '--unixsocket', socket, '--requirepass', SECRET])
  child.stdout?.resume()
  child.stderr?.resume()
  await until(
    () =>
      new Promise((resolve) => {
        const asking = connect(socket, () => resolve(true)).on('error', () => resolve(false))
        asking.on('connect', () => asking.destroy())
      }),
  )
  return socket
}

export const STORE_CASES: readonly ErrorCase[] = [
  {
    code: 'FLIST_BLOCK_CORRUPT',
    when: 'a store gives other bytes',
    provoke: (place) => catFrom(place, 'corrupt'),
    says: /"file".*store "http:\/\/\*\*\*@127\.0\.0\.1/,
    hint: /Name another store/,
  },
  {
    code: 'FLIST_BLOCK_MISSING',
    when: 'no store has the block',
    provoke: (place) => catFrom(place, 'without'),
    says: /"file".*does not have it/,
    hint: /Name another store/,
  },
  {
    code: 'FLIST_BLOCK_NOT_ROUTED',
    when: 'the ranges of the stores leave a gap',
    provoke: (place) => cat(place, '00-00=dir:///srv/blocks'),
    says: /no store covers/,
    hint: /Name the store/,
  },
  {
    code: 'FLIST_STORE_UNREACHABLE',
    when: 'nobody listens at a web address',
    provoke: (place) => cat(place, `http://${CLOSED}`),
    says: /store "http:\/\/127\.0\.0\.1:1".*nobody listens/,
    hint: /Check the network and the store/,
  },
  {
    code: 'FLIST_STORE_UNREACHABLE',
    when: 'a zdb is dead',
    provoke: (place) => cat(place, `zdb://${CLOSED}/space`),
    says: /store "zdb:\/\/127\.0\.0\.1:1\/space".*nobody listens/,
    hint: /Check the network and the store/,
  },
  {
    code: 'FLIST_STORE_UNREACHABLE',
    when: 'a folder of blocks is not mounted',
    provoke: (place) => cat(place, 'dir:///srv/absent'),
    says: /store "dir:\/\/\/srv\/absent".*the folder is not there/,
    hint: /Mount or make|Check/,
  },
  {
    code: 'FLIST_STORE_UNREACHABLE',
    when: 'a store has a fault of its own',
    provoke: (place) => catFrom(place, 'broken'),
    says: /store "http:.*500/,
    hint: /Check the network and the store/,
  },
  {
    code: 'FLIST_STORE_UNREACHABLE',
    when: 'the hub is down',
    provoke: (place) => flistfs(place, ['inspect', 'me/app.flist', '--hub', `http://user:${SECRET}@${CLOSED}`]),
    says: /http:\/\/127\.0\.0\.1:1\/me\/app\.flist".*nobody listens/,
    hint: /Check the address and the network/,
  },
  {
    code: 'FLIST_STORE_UNREACHABLE',
    when: 'the hub says that it is busy',
    provoke: async (place) => {
      const hub = await webServer(place, (_request, response) => void response.writeHead(503).end())
      return flistfs(place, ['inspect', 'me/app.flist', '--hub', hub])
    },
    says: /\/me\/app\.flist".*503/,
    hint: /Try again/,
  },
  {
    code: 'FLIST_STORE_UNREACHABLE',
    when: 'the proxy is down',
    provoke: (place) => cat(place, 'http://blocks.example.org', { http_proxy: `http://${CLOSED}`, no_proxy: '' }),
    says: /store "http:\/\/blocks\.example\.org"/,
    hint: /http_proxy/,
  },
  {
    code: 'FLIST_STORE_UNREACHABLE',
    when: 'the proxy to a hub is down',
    provoke: (place) =>
      flistfs(place, ['inspect', 'me/app.flist', '--hub', 'http://hub.example.org'], {
        http_proxy: `http://${CLOSED}`,
        no_proxy: '',
      }),
    says: /hub\.example\.org\/me\/app\.flist".*nobody listens/,
    hint: /http_proxy/,
  },
  {
    code: 'FLIST_STORE_DENIED',
    when: 'the proxy to a hub wants a password',
    provoke: async (place) => {
      const proxy = await webServer(place, (_request, response) => void response.writeHead(407).end())
      const env = { http_proxy: proxy, no_proxy: '' }
      return flistfs(place, ['inspect', 'me/app.flist', '--hub', 'http://hub.example.org'], env)
    },
    says: /hub\.example\.org\/me\/app\.flist".*the proxy wants a password/,
    hint: /http_proxy/,
  },
  {
    code: 'FLIST_STORE_DENIED',
    when: 'a web store refuses the password',
    provoke: (place) => catFrom(place, 'forbidden'),
    says: /store "http:\/\/\*\*\*@127\.0\.0\.1.*403/,
    hint: /Check the user name, password or token/,
  },
  {
    code: 'FLIST_STORE_DENIED',
    when: 'a zdb refuses the password',
    skip: lacks('redis-server'),
    provoke: async (place) => {
      const file = fresh(place, 'password')
      writeFileSync(file, `not-${SECRET}`)
      return cat(place, `redis://${await redis(place)}?password-file=${file}`)
    },
    says: /store "redis:\/\//,
    hint: /Check the user name, password or token/,
  },
  {
    code: 'FLIST_STORE_DENIED',
    when: 'an S3 store refuses the key',
    skip: NO_S3,
    provoke: async (place) => {
      const { host } = await startGateway(place.t)
      return cat(place, `s3://${ACCESS}:${SECRET}@${host}/blocks`)
    },
    says: /store "s3:\/\//,
    hint: /key|credentials/,
  },
  {
    code: 'FLIST_STORE_DENIED',
    when: 'the file with the password is not there',
    provoke: (place) => cat(place, `zdb://${CLOSED}/space?password-file=/srv/absent`),
    says: /"\/srv\/absent"/,
    hint: /"?\/srv\/absent/,
  },
  {
    code: 'FLIST_STORE_DENIED',
    when: 'the hub wants a password',
    provoke: async (place) => {
      const hub = await webServer(place, (_request, response) => void response.writeHead(401).end())
      return flistfs(place, ['inspect', 'me/app.flist', '--hub', hub.replace('//', `//me:${SECRET}@`)])
    },
    says: /\/me\/app\.flist".*401/,
    hint: /user and password/,
  },
  {
    code: 'FLIST_STORE_PROTOCOL',
    when: 'the certificate of a store has expired',
    skip: lacks('openssl'),
    provoke: async (place) => {
      const { url, certificate } = await secureServer(place, '20200101000000Z', '20200102000000Z')
      return cat(place, `${url}?ca-file=${certificate}`)
    },
    says: /store "https:.*expired/,
    hint: /clock|renew/,
  },
  {
    code: 'FLIST_STORE_PROTOCOL',
    when: 'nobody has signed the certificate',
    skip: lacks('openssl'),
    provoke: async (place) => cat(place, (await secureServer(place, '20200101000000Z', '20900101000000Z')).url),
    says: /store "https:.*certificate/,
    hint: /ca-file/,
  },
  {
    code: 'FLIST_STORE_PROTOCOL',
    when: 'a web address belongs to another service',
    provoke: async (place) => cat(place, `http://${await talker(place, '220 mail.example.org ESMTP\r\n')}`),
    says: /store "http:\/\/127/,
    hint: /Check that the URL names a store/,
  },
  {
    code: 'FLIST_STORE_PROTOCOL',
    when: 'a zdb does not have the namespace',
    provoke: async (place) => cat(place, `zdb://${await talker(place, '-Namespace not found\r\n')}/space`),
    says: /store "zdb:.*\/space".*Namespace not found/i,
    hint: /Check/,
  },
  {
    code: 'FLIST_STORE_PROTOCOL',
    when: 'a hub sends round in a circle',
    provoke: async (place) => {
      const url = await webServer(
        place,
        (request, response) => void response.writeHead(302, { location: request.url }).end(),
      )
      return flistfs(place, ['inspect', `${url}/a.fl?token=${SECRET}`])
    },
    says: /\/a\.fl\?\.\.\.".*more than 5 redirects/,
    hint: /Check the address/,
  },
  {
    code: 'FLIST_TIMEOUT',
    when: 'a store does not answer',
    provoke: (place) => catFrom(place, 'stall', '--timeout', '1'),
    says: /"file".* in \d+ ms/,
    hint: /[Nn]ame another store/,
  },
  {
    code: 'FLIST_INTERRUPTED',
    when: 'the user presses Ctrl-C',
    provoke: interrupted,
    says: /interrupted|nobody waits/,
  },
]
