import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { openSource } from '../../lib/store/open.ts'
import { openSinks, type OpenSinks } from '../../lib/store/index.ts'
import { makeBlock, NEVER } from './blocks.ts'
import { makeCertificates, NO_OPENSSL, pairOf } from './certificates.ts'
import { FL_USER, startFlServer } from './fl-server.ts'
import { ACCESS, NO_S3, SECRET, startGateway } from './versitygw.ts'

const PASSWORD = 'hunter2-s3cr3t'
const LOGIN = `${ACCESS}:${encodeURIComponent(SECRET)}`
const blocks = await Promise.all([makeBlock(1), makeBlock(524_288), makeBlock(70_000)])
const dir = t.testdir({ '.config': {} })
const path = (name: string): string => join(dir, name)

// What the machine of the test has must not decide it.
for (const name of Object.keys(process.env)) {
  if (/^(?:AWS_|https?_proxy|no_proxy|FLISTFS_CA)/i.test(name)) delete process.env[name]
}
process.env['HOME'] = dir
process.env['XDG_CONFIG_HOME'] = path('.config')
if (NO_OPENSSL === false) makeCertificates(dir)

async function opened(t: Test, url: string): Promise<OpenSinks> {
  const sinks = await openSinks([{ start: 0, end: 255, url }], '/')
  t.teardown(() => sinks[Symbol.asyncDispose]())
  return sinks
}

/** Blocks are sent once, and read back by the same URL. */
async function goesThere(t: Test, url: string): Promise<void> {
  const sinks = await opened(t, url)
  const send = (): Promise<boolean[]> => Promise.all(blocks.map(({ ref, stored }) => sinks.send(ref.id, stored, NEVER)))
  t.strictSame(await send(), [true, true, true])
  t.strictSame(await send(), [false, false, false], 'what is there is not sent again')
  await using source = await openSource(url, { baseDir: '/', trusted: true, timeoutMs: 60_000 })
  for (const { ref, stored } of blocks) t.ok((await source.get(ref.id, NEVER))?.equals(stored))
}

async function failure(t: Test, url: string): Promise<unknown> {
  const error: unknown = await opened(t, url)
    .then((sinks) => sinks.send(blocks[0]!.ref.id, blocks[0]!.stored, NEVER))
    .then(
      () => new Error('it took the block'),
      (thrown: unknown) => thrown,
    )
  t.notMatch(inspect(error, { depth: 20, showHidden: true }), 'hunter2')
  return error
}

/** What is wrong with a certificate is said with the way out, and nothing is sent. `right` and `strange` have the blanks for a query. */
async function refuses(t: Test, right: string, strange: string): Promise<void> {
  const unsigned = /Name the authority that signed it: `\?ca-file=FILE` in the URL or FLISTFS_CA_FILE/
  t.match(await failure(t, right), {
    code: 'FLIST_STORE_PROTOCOL',
    message: /^Cannot write to store .*: nobody we trust signed its certificate/,
    hint: unsigned,
  })
  t.match(await failure(t, `${strange}ca-file=${path('ca.pem')}`), {
    code: 'FLIST_STORE_PROTOCOL',
    message: /^Cannot write to store .*: its certificate is for another host/,
    hint: unsigned,
  })
  t.match(await failure(t, `${right}ca-file=${path('none.pem')}`), {
    code: 'FLIST_STORE_DENIED',
    message: /^Cannot read TLS file ".*none\.pem".*: no such file or folder \(ENOENT\)/,
    hint: /Make the file readable/,
  })
}

void t.test('s3s on ::1, with an authority of its own', { skip: NO_S3 || NO_OPENSSL, timeout: 600_000 }, async (t) => {
  const tls = (name: string): string[] => ['--cert', path(`${name}.pem`), '--key', path(`${name}.key`)]
  const gateway = await startGateway(t, '::1', ['--region', 'west-1', ...tls('server')])
  const url = `s3s://${LOGIN}@${gateway.host}/blocks/below?region=west-1&`
  await t.test('by the URL', (t) => goesThere(t, `${url}ca-file=${path('ca.pem')}`))
  const [first] = blocks
  const object = join(gateway.dir, 'blocks/below', first!.ref.id.toString('hex'))
  t.ok(readFileSync(object).equals(first!.stored), 'it is an object of the server')
  await t.test('by the environment', async (t) => {
    t.teardown(() => delete process.env['FLISTFS_CA_FILE'])
    process.env['FLISTFS_CA_FILE'] = path('ca.pem')
    await goesThere(t, url.replace('/below?', '/other?').slice(0, -1))
  })
  await t.test('what is refused', async (t) => {
    const strange = await startGateway(t, '::1', ['--region', 'west-1', ...tls('elsewhere')])
    await refuses(t, url, `s3s://${LOGIN}@${strange.host}/blocks?region=west-1&`)
  })
  t.match(await failure(t, `s3s://${LOGIN}@${gateway.host}/blocks?region=west-1&ca-file=${path('client.pem')}`), {
    code: 'FLIST_STORE_PROTOCOL',
    message: /nobody we trust signed/,
  })
  t.match(
    await failure(t, `s3s://${ACCESS}:hunter2wrong@${gateway.host}/blocks?region=west-1&ca-file=${path('ca.pem')}`),
    {
      code: 'FLIST_STORE_DENIED',
      message: /SignatureDoesNotMatch/,
    },
  )
})

void t.test('fl-server over https, with an authority of its own', { skip: NO_OPENSSL, timeout: 600_000 }, async (t) => {
  const server = await startFlServer(t, PASSWORD, pairOf(dir, 'server'))
  const base = (login: string): string => `server://https://${login}${server.host}/base?`
  await t.test('by a token', (t) => goesThere(t, `${base('')}token=${PASSWORD}&ca-file=${path('ca.pem')}`))
  server.blocks.clear()
  await t.test('by a password', async (t) => {
    const sinks = await opened(t, `${base(`${FL_USER}:${PASSWORD}@`)}ca-file=${path('ca.pem')}`)
    for (const { ref, stored } of blocks) t.equal(await sinks.send(ref.id, stored, NEVER), true)
    t.equal(server.signIns, 1)
  })
  const strange = await startFlServer(t, PASSWORD, pairOf(dir, 'elsewhere'))
  const asked = server.requests
  await refuses(t, `${base('')}token=${PASSWORD}&`, `server://https://${strange.host}/base?token=${PASSWORD}&`)
  t.equal(server.requests, asked, 'nothing was said to a server that is not trusted')
})

void t.test('a key of another certificate is named', { skip: NO_OPENSSL }, async (t) => {
  const files = `ca-file=${path('ca.pem')}&cert-file=${path('server.pem')}&key-file=${path('client.key')}`
  t.match(await failure(t, `s3s://${LOGIN}@[::1]:1/blocks?${files}`), {
    code: 'FLIST_STORE_DENIED',
    message: /TLS files/,
    hint: /the key must fit/,
  })
})
