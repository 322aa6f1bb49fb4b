import { randomBytes } from 'node:crypto'
import { readdirSync, renameSync, statfsSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { openImage, type OpenImageOptions } from '../../../lib/oci/open-image.ts'
import { tarOf } from '../make-image.ts'
import { listen, type OddRegistry, serve, startOdd } from '../odd-registry.ts'
import { openOptions } from '../open-options.ts'

for (const name of ['REGISTRY_AUTH_FILE', 'XDG_RUNTIME_DIR', 'http_proxy', 'https_proxy']) delete process.env[name]
const dir = t.testdir({ docker: {}, home: {} })
process.env['DOCKER_CONFIG'] = join(dir, 'docker')
process.env['XDG_CONFIG_HOME'] = join(dir, 'home')

const NEVER = new AbortController().signal
const big = randomBytes(3_000_000)
const SPEC = {
  layers: [
    { tar: tarOf([{ name: 'big', data: big }]), packing: 'none' as const },
    { tar: tarOf([{ name: 'small', data: 'small' }]) },
  ],
}
const SIZE = SPEC.layers[0]?.tar.length ?? 0
let folders = 0

async function pull(host: string, more: Partial<OpenImageOptions> = {}, signal = NEVER): Promise<string[]> {
  const warnings: string[] = []
  const warn = (text: string): unknown => warnings.push(text)
  const options = openOptions(join(dir, `spool${(folders += 1)}`), { warn, ...more })
  const image = await openImage(`${host}/app:v1`, options, signal)
  for (const layer of image.layers) {
    let bytes = 0
    for await (const piece of layer.open(NEVER)) bytes += piece.length
    if (bytes !== layer.size) throw new Error('a layer is not whole')
  }
  await image.close(true)
  if (readdirSync(options.spoolFolder).length > 0) throw new Error('layers were left behind')
  return warnings
}

function login(record: Record<string, unknown>): void {
  writeFileSync(join(dir, 'docker/config.json'), JSON.stringify({ auths: record }))
}

const isBlob = ({ url = '' }: IncomingMessage, registry: OddRegistry): boolean =>
  url.includes('/blobs/') && (registry.blobs.get(url.split('/').at(-1) ?? '')?.bytes.length ?? 0) > 2_000_000

t.test('a layer goes on where its connection broke', async (t) => {
  const registry = await startOdd(t, SPEC)
  let broken = 0
  registry.bend = (request, response) => {
    if (!isBlob(request, registry) || broken >= 6) return false
    broken += 1
    const from = Number(/\d+/.exec(request.headers.range ?? '')?.[0] ?? 0)
    const size = SIZE
    response.writeHead(from > 0 ? 206 : 200, {
      'content-length': size - from,
      ...(from > 0 ? { 'content-range': `bytes ${from}-${size - 1}/${size}` } : {}),
    })
    const [blob] = [...registry.blobs.values()].filter(({ bytes }) => bytes.length > 2_000_000)
    response.write(blob?.bytes.subarray(from, from + 400_000), () => response.destroy())
    return true
  }
  t.strictSame(await pull(registry.host), [])
  const ranges = registry.seen.flatMap(({ range }) => range ?? [])
  t.equal(broken, 6, 'it broke six times')
  t.ok(ranges.length > 0, 'the rest was asked for')
  t.ok(ranges.every((range) => !range.startsWith('bytes=0-')))
})

t.test('a server without ranges gives the layer again from its beginning', async (t) => {
  const registry = await startOdd(t, SPEC)
  let broken = false
  registry.bend = (request, response) => {
    if (!isBlob(request, registry)) return false
    if (broken) {
      delete request.headers.range
      return false
    }
    broken = true
    response.writeHead(200, { 'content-length': SIZE })
    response.write(big.subarray(0, 100_000), () => response.destroy())
    return true
  }
  t.strictSame(await pull(registry.host), [])
})

t.test('wrong bytes are fetched once more, then refused', async (t) => {
  const registry = await startOdd(t, SPEC)
  let times = 0
  const lie = (most: number) => (request: IncomingMessage, response: ServerResponse) => {
    if (!isBlob(request, registry) || times >= most) return false
    times += 1
    response.writeHead(200, { 'content-length': SIZE }).end(Buffer.alloc(SIZE))
    return true
  }
  registry.bend = lie(1)
  t.strictSame(await pull(registry.host), [])
  times = 0
  registry.bend = lie(99)
  await t.rejects(pull(registry.host), { code: 'FLIST_DIGEST_MISMATCH' })
  t.equal(times, 2)
  registry.bend = (request, response) => {
    if (!isBlob(request, registry)) return false
    response.writeHead(200)
    const more = (): boolean => response.destroyed || response.write(Buffer.alloc(500_000), () => setImmediate(more))
    more()
    return true
  }
  await t.rejects(pull(registry.host), { code: 'FLIST_DIGEST_MISMATCH' }, 'a stream that does not end')
  registry.bend = ({ url = '' }, response) =>
    url.includes('/manifests/') && Boolean(response.writeHead(200).end(Buffer.alloc(5_000_000, ' ')))
  await t.rejects(pull(registry.host), { code: 'FLIST_STORE_PROTOCOL' }, 'a manifest without end')
})

t.test('it waits as long as it is told, and asks again after faults that pass', async (t) => {
  const registry = await startOdd(t, SPEC)
  const answers: [number, Record<string, string>][] = [
    [429, { 'retry-after': '1' }],
    [503, { 'retry-after': '0' }],
    [500, {}],
    [502, {}],
  ]
  registry.bend = (_request, response) => {
    const next = answers.shift()
    if (next === undefined) return false
    response.writeHead(...next).end()
    return true
  }
  t.strictSame(await pull(registry.host), [])
  registry.bend = (_request, response) => Boolean(response.writeHead(429, { 'retry-after': '7200' }).end())
  const before = registry.seen.length
  await t.rejects(pull(registry.host), { code: 'FLIST_STORE_UNREACHABLE', hint: /7200 s.*--mirror/ })
  t.equal(registry.seen.length, before + 1, 'who wants two hours is not asked again')
  registry.bend = (_request, response) => Boolean(response.writeHead(500).end())
  const asked = registry.seen.length
  await t.rejects(pull(registry.host), { code: 'FLIST_STORE_UNREACHABLE' })
  t.equal(registry.seen.length, asked + 5, 'five times')
})

t.test('redirects get no password of ours, and lead nowhere strange', async (t) => {
  const registry = await startOdd(t, SPEC)
  login({ [registry.host]: { username: 'me', password: 'secret' } })
  const elsewhere: (string | undefined)[] = []
  const other = await listen(
    t,
    (request, response) => {
      elsewhere.push(request.headers.authorization)
      serve(registry, request, response)
    },
    '127.0.0.1',
  )
  const wantsPassword = (request: IncomingMessage, response: ServerResponse): boolean => {
    if (request.headers.authorization === `Basic ${Buffer.from('me:secret').toString('base64')}`) return false
    return Boolean(response.writeHead(401, { 'www-authenticate': 'Basic realm="here"' }).end())
  }
  let location = `http://${other}`
  registry.bend = (request, response) => {
    if (wantsPassword(request, response)) return true
    if (!request.url?.includes('/blobs/')) return false
    return Boolean(response.writeHead(307, { location: `${location}${request.url}` }).end())
  }
  t.strictSame(await pull(registry.host), [])
  t.ok(elsewhere.length >= 3 && elsewhere.every((authorization) => authorization === undefined))
  for (location of [`http://${registry.host}/again`, 'ftp://x', 'file:///etc']) {
    await t.rejects(pull(registry.host), { code: 'FLIST_STORE_PROTOCOL', message: /^((?!secret).)*$/s }, location)
  }
})

t.test('who is redirected to and asks for a password gets none', async (t) => {
  const registry = await startOdd(t, SPEC)
  login({ [registry.host]: { username: 'me', password: 'secret' } })
  const told: (string | undefined)[] = []
  const other = await listen(
    t,
    ({ url = '', headers }, response) => {
      told.push(url, headers.authorization)
      if (url.startsWith('/token')) return void response.end(JSON.stringify({ token: 'x' }))
      response.writeHead(401, { 'www-authenticate': `${challenge} realm="http://${other}/token"` }).end()
    },
    '127.0.0.1',
  )
  registry.bend = (request, response) => {
    if (request.headers.authorization === undefined)
      return Boolean(response.writeHead(401, { 'www-authenticate': 'Basic realm="here"' }).end())
    if (!request.url?.includes('/blobs/')) return false
    return Boolean(response.writeHead(307, { location: `http://${other}/layer` }).end())
  }
  let challenge = ''
  for (challenge of ['Bearer', 'Basic']) {
    const denied = { code: 'FLIST_STORE_DENIED', message: /to which it sends us/ }
    await t.rejects(pull(registry.host), denied, challenge)
  }
  t.same([...new Set(told)], ['/layer', undefined], 'nobody was asked for a token')
  login({})
})

t.test('tokens are had with the password or an identity token, and renewed', async (t) => {
  const registry = await startOdd(t, SPEC)
  const asked: { url: string; authorization: string | undefined; body: string }[] = []
  let valid = ''
  const realm = await listen(t, (request, response) => {
    let body = ''
    request.on('data', (piece: Buffer) => (body += piece.toString()))
    request.on('end', () => {
      asked.push({ url: request.url ?? '', authorization: request.headers.authorization, body })
      if (request.headers.authorization?.includes(Buffer.from('me:wrong').toString('base64')) === true)
        return void response.writeHead(401).end()
      valid = `token-${asked.length}`
      response.end(JSON.stringify(asked.length % 2 === 0 ? { access_token: valid } : { token: valid, expires_in: 60 }))
    })
  })
  let blobs = 0
  registry.bend = (request, response) => {
    if (request.url?.includes('/blobs/') === true && (blobs += 1) === 1) valid = 'ended meanwhile'
    if (valid !== '' && request.headers.authorization === `Bearer ${valid}`) return false
    const challenge = `Basic realm="x, y", Bearer realm="http://${realm}/token?a=b",service="odd \\"one\\"",scope="repository:app:pull"`
    return Boolean(response.writeHead(401, { 'www-authenticate': challenge }).end())
  }
  login({ [registry.host]: { username: 'me', password: 'secret' } })
  t.strictSame(await pull(registry.host), [])
  t.ok(asked.length >= 2, 'a token that ended is renewed')
  const url = new URL(asked[0]?.url ?? '', `http://${realm}`)
  t.strictSame(Object.fromEntries(url.searchParams), {
    a: 'b',
    service: 'odd "one"',
    scope: 'repository:app:pull',
    account: 'me',
  })
  t.equal(asked[0]?.authorization, `Basic ${Buffer.from('me:secret').toString('base64')}`)

  login({ [registry.host]: { identitytoken: 'refresh me' } })
  asked.length = 0
  valid = ''
  t.strictSame(await pull(registry.host), [])
  const form = Object.fromEntries(new URLSearchParams(asked[0]?.body))
  t.match(form, { grant_type: 'refresh_token', refresh_token: 'refresh me', service: 'odd "one"' })
  t.equal(asked[0]?.authorization, undefined)

  login({})
  valid = ''
  t.strictSame(await pull(registry.host), [], 'nobody in particular')
  login({ [registry.host]: { username: 'me', password: 'wrong' } })
  valid = ''
  await t.rejects(pull(registry.host), { code: 'FLIST_STORE_DENIED', message: /^((?!wrong).)*$/s })
  registry.bend = (_request, response) =>
    Boolean(response.writeHead(401, { 'www-authenticate': 'Bearer nothing' }).end())
  await t.rejects(pull(registry.host), { code: 'FLIST_STORE_PROTOCOL' })
  login({})
})

t.test('a mirror that lies or is silent is passed over', async (t) => {
  const registry = await startOdd(t, SPEC)
  const mirror = await startOdd(t, SPEC)
  mirror.bend = (request, response) =>
    request.url?.includes('/blobs/') === true && Boolean(response.writeHead(200).end('lies'))
  const warnings = await pull(registry.host, { mirrors: [`${registry.host}=${mirror.host}`] })
  t.equal(warnings.length, 1, 'it is not asked again')
  t.match(warnings.join(), /FLIST_DIGEST_MISMATCH/)
  t.ok(
    registry.seen.every(({ url }) => !url.includes('/manifests/')),
    'the mirror gave the manifest',
  )
  const dead = await pull(registry.host, { mirrors: [`${registry.host}=127.0.0.1:1`] })
  t.match(dead.join(), /ECONNREFUSED/)
})

t.test('what was fetched when a process was killed is not fetched again', async (t) => {
  const registry = await startOdd(t, SPEC)
  const spoolFolder = join(dir, 'killed')
  const abort = new AbortController()
  registry.bend = (request, response) => {
    if (!isBlob(request, registry)) return false
    response.writeHead(200, { 'content-length': SIZE })
    const [blob] = [...registry.blobs.values()].filter(({ bytes }) => bytes.length > 2_000_000)
    response.write(blob?.bytes.subarray(0, 1_000_000), () => undefined)
    return true
  }
  const onBytes = (bytes: number): void => {
    if (bytes >= 1_000_000) abort.abort(new Error('killed'))
  }
  await t.rejects(pull(registry.host, { spoolFolder, onBytes }, abort.signal))
  const [left = ''] = readdirSync(spoolFolder).filter((name) =>
    name.includes([...registry.blobs.keys()][0]?.replace(':', '-') ?? '-'),
  )
  t.match(left, /^sha256-[0-9a-f]{64}\.\d+\.\d+\.layer$/)
  // As if another process had died there.
  for (const name of readdirSync(spoolFolder)) {
    renameSync(join(spoolFolder, name), join(spoolFolder, name.replace(/\.\d+\.\d+\.layer$/, '.4194305.77.layer')))
  }
  registry.bend = () => false
  registry.seen.length = 0
  t.strictSame(await pull(registry.host, { spoolFolder }), [])
  t.match(
    registry.seen.filter(({ range }) => range !== undefined).map(({ range }) => range),
    [/^bytes=\d{6,}-/],
  )
})

const HUGE = 1_099_511_627_000
const { bavail, bsize } = statfsSync(dir)

t.test(
  'layers for which there is no room are not begun',
  { skip: bavail * bsize > HUGE && 'there is room' },
  async (t) => {
    const registry = await startOdd(t, SPEC)
    const manifest = registry.blobs.get(registry.manifest.digest)
    const huge = Buffer.from(manifest?.bytes.toString().replace(`"size":${SIZE}`, `"size":${HUGE}`) ?? '')
    registry.blobs.set('v2', { bytes: huge, mediaType: registry.manifest.mediaType })
    const options = openOptions(join(dir, 'no-room'))
    await t.rejects(openImage(`${registry.host}/app:v2`, options, NEVER), {
      code: 'FLIST_CACHE_UNUSABLE',
      message: /are free$/,
    })
    t.equal(registry.seen.filter(({ url }) => url.includes('/blobs/')).length, 1, 'only the configuration was fetched')
  },
)
