import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer as createPlain } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { openImage } from '../../../lib/oci/open-image.ts'
import { askHelper } from '../../../lib/oci/registry/credential-helper.ts'
import { Endpoint } from '../../../lib/oci/registry/endpoint.ts'
import { readBody, Transport } from '../../../lib/oci/registry/transport.ts'
import { makeCertificates, NO_OPENSSL } from '../../store/certificates.ts'
import { tarOf } from '../make-image.ts'
import { listen, startOdd } from '../odd-registry.ts'
import { openOptions } from '../open-options.ts'

for (const name of ['REGISTRY_AUTH_FILE', 'XDG_RUNTIME_DIR', 'http_proxy', 'https_proxy']) delete process.env[name]
const dir = t.testdir({ bin: {}, docker: {}, home: {} })
process.env['DOCKER_CONFIG'] = join(dir, 'docker')
process.env['XDG_CONFIG_HOME'] = join(dir, 'home')
process.env['PATH'] = `${join(dir, 'bin')}:${process.env['PATH']}`

const NEVER = new AbortController().signal

function helper(name: string, lines: string): void {
  writeFileSync(join(dir, 'bin', `docker-credential-${name}`), `#!/bin/sh\n${lines}\n`, { mode: 0o755 })
}

const ANSWER = `echo '{"ServerURL":"x","Username":"me","Secret":"geheim"}'`

t.test('askHelper() never waits for ever, and tells nothing of what a helper printed', async (t) => {
  const pids = join(dir, 'pids')
  t.teardown(() => spawnSync('/bin/sh', ['-c', `kill $(cat ${pids})`], { stdio: 'ignore' }))
  helper('agent', `sleep 1000 & echo $! >>${pids}\n${ANSWER}`)
  t.strictSame(
    await askHelper('agent', 'h', 'h', NEVER),
    { kind: 'password', user: 'me', password: 'geheim' },
    'one that leaves an agent with its output open',
  )
  helper('hangs', 'exec sleep 1000')
  const denied = { code: 'FLIST_STORE_DENIED', message: /^((?!geheim).)*$/s }
  await t.rejects(askHelper('hangs', 'h', 'h', NEVER, 300), { ...denied, message: /did not answer in time/ })
  const abort = new AbortController()
  const asked = askHelper('hangs', 'h', 'h', abort.signal)
  abort.abort(new Error('stop'))
  await t.rejects(asked, { message: 'stop' })
  await t.rejects(askHelper('hangs', 'h', 'h', abort.signal, 300), { message: 'stop' }, 'aborted before')
  helper('slow', `printf '{"Username":"m\\303'; sleep 0.2; printf '\\244","Secret":"s"}'`)
  t.match(await askHelper('slow', 'h', 'h', NEVER), { user: 'mä' }, 'a letter in two pieces')
  helper('floods', `while :; do echo geheimgeheimgeheimgeheimgeheimgeheimgeheimgeheim; done`)
  await t.rejects(askHelper('floods', 'h', 'h', NEVER), denied, 'one that never ends')
  for (const lines of ['echo geheim', 'exit 1', 'printf "\\0geheim"', 'echo null', `echo '{"Secret":7}'`, ':']) {
    helper('odd', lines)
    await t.rejects(askHelper('odd', 'h', 'h', NEVER), denied, lines)
  }
})

t.test('a layer that is given and taken back is given up', async (t) => {
  const spec = { layers: [{ tar: tarOf([{ name: 'big', data: randomBytes(100_000) }]), packing: 'none' as const }] }
  const registry = await startOdd(t, spec)
  let asked = 0
  registry.bend = (request, response) => {
    const blob = registry.blobs.get(request.url?.split('/').at(-1) ?? '')
    if (blob === undefined || blob.bytes.length < 100_000) return false
    asked += 1
    const from = Number(/\d+/.exec(request.headers.range ?? '')?.[0] ?? 0)
    // The first answer has more than the second, which begins anew; the third goes on from there.
    const isWhole = asked % 2 === 0
    const size = blob.bytes.length
    const begin = isWhole ? 0 : from
    const headers = begin > 0 ? { 'content-range': `bytes ${begin}-${size - 1}/${size}` } : {}
    response.writeHead(begin > 0 ? 206 : 200, { 'content-length': size - begin, ...headers })
    response.write(blob.bytes.subarray(begin, isWhole ? 1000 : 2000), () => response.destroy())
    return asked < 100
  }
  const options = openOptions(join(dir, 'spool'))
  await t.rejects(openImage(`${registry.host}/app:v1`, options, NEVER), { code: 'FLIST_STORE_UNREACHABLE' })
  t.ok(asked < 20, `asked ${asked} times`)
})

t.test('readBody() waits for a small answer so long and no longer', async (t) => {
  const host = await listen(t, (_request, response) => {
    response.writeHead(200)
    const timer = setInterval(() => response.write('x'), 20)
    response.on('close', () => clearInterval(timer))
  })
  const transport = new Transport()
  t.teardown(() => transport.close())
  const answer = await transport.send({ method: 'GET', url: new URL(`http://${host}/`), headers: {} }, NEVER)
  await t.rejects(readBody(answer, 1 << 20, host, 500), {
    code: 'FLIST_STORE_UNREACHABLE',
    message: /did not end in time/,
  })
})

t.test('a registry that spoke TLS once is never spoken to without', { skip: NO_OPENSSL }, async (t) => {
  const folder = join(dir, 'tls')
  mkdirSync(folder)
  makeCertificates(folder)
  const server = createServer(
    { key: readFileSync(join(folder, 'server.key')), cert: readFileSync(join(folder, 'server.pem')) },
    (request, response) => {
      const isKnown = request.headers.authorization !== undefined
      response.writeHead(isKnown ? 200 : 401, { 'www-authenticate': 'Basic realm="x"' }).end('{}')
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '::1', resolve))
  const { port } = server.address() as AddressInfo
  const host = `[::1]:${port}`
  writeFileSync(
    join(dir, 'docker/config.json'),
    JSON.stringify({ auths: { [host]: { username: 'me', password: 'geheim' } } }),
  )
  process.env['FLISTFS_CA_FILE'] = join(folder, 'ca.pem')
  const transport = new Transport()
  t.teardown(() => transport.close())
  const place = { host, repository: 'app', registry: host, scheme: 'either' as const }
  const endpoint = new Endpoint(transport, place, 'pull', 1)
  const ask = async (): Promise<void> =>
    (await endpoint.ask({ method: 'GET', target: 'manifests/v1', headers: {} }, NEVER)).drop()
  await ask()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  // Somebody else has taken the port, and listens for passwords.
  const heard: (string | undefined)[] = []
  const thief = createPlain((request, response) => {
    heard.push(request.headers.authorization)
    response.end('{}')
  })
  await new Promise<void>((resolve) => thief.listen(port, '::1', resolve))
  t.teardown(() => {
    thief.closeAllConnections()
    return new Promise((resolve) => thief.close(resolve))
  })
  await t.rejects(ask(), { code: /^FLIST_STORE_/ })
  t.strictSame(heard, [], 'it hears nothing')
})
