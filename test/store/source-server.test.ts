import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { inspect } from 'node:util'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openSource } from '../../lib/store/open.ts'
import type { BlockSource } from '../../lib/store/port.ts'
import { makeBlock, NEVER, type TestBlock } from './blocks.ts'
import { storeSuite } from './store-suite.ts'

const SECRET = 'hunter2.jwt.s3cr3t'
const config = t.testdir({ flistfs: {} })
process.env['XDG_CONFIG_HOME'] = config

interface Served {
  readonly host: string
  readonly seen: IncomingMessage[]
}

/** What fl-server does with GET /api/v1/block/<hash>; with `token`, behind a guard that wants it. */
async function serve(t: Test, blocks: readonly TestBlock[], token?: string): Promise<Served> {
  const files = new Map(blocks.map(({ ref, stored }) => [`/api/v1/block/${ref.id.toString('hex')}`, stored]))
  const seen: IncomingMessage[] = []
  const server = createServer((request, response) => {
    seen.push(request)
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) response.writeHead(403).end()
    else {
      const file = files.get(request.url ?? '')
      if (file === undefined) response.writeHead(404).end('block not found')
      else response.end(file)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '::1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { host: `[::1]:${(server.address() as AddressInfo).port}`, seen }
}

async function open(t: Test, url: string, trusted = true): Promise<BlockSource> {
  const source = await openSource(url, { baseDir: '/', trusted, timeoutMs: 60_000 })
  t.teardown(() => source[Symbol.asyncDispose]())
  return source
}

for (const words of ['server://http://', 'server://', 'server+http://']) {
  void t.test(`store ${words}`, async (t) => {
    await storeSuite(t, async (blocks) => {
      const { host } = await serve(t, blocks, SECRET)
      return openSource(`${words}${host}?token=${SECRET}`, { baseDir: '/' })
    })
  })
}

const block = await makeBlock(1000)
const { id } = block.ref

void t.test('one request for a block, the token in a header and never in an error', async (t) => {
  const { host, seen } = await serve(t, [block], SECRET)
  const source = await open(t, `server://http://${host}/?token=${SECRET}`)
  t.ok(await source.get(id, NEVER))
  t.equal(await source.get(Buffer.alloc(32), NEVER), undefined)
  t.equal(seen.length, 2)
  t.notOk(seen.some(({ url }) => url?.includes('hunter2')))
  const wrong = await open(t, `server://http://${host}/?token=${SECRET}x`)
  const error: unknown = await wrong.get(id, NEVER).catch((thrown: unknown) => thrown)
  t.match(error, { code: 'FLIST_STORE_DENIED', message: /Cannot read from store "server:\/\/http:/ })
  t.notMatch(inspect(error, { depth: 20, showHidden: true }) + wrong.name, 'hunter2')
})

void t.test('a token that was replaced in its file is found when the old one is refused', async (t) => {
  const { host, seen } = await serve(t, [block], SECRET)
  const file = join(t.testdir({ token: 'old' }), 'token')
  const source = await open(t, `server://http://${host}?token-file=${file}`)
  await t.rejects(source.get(id, NEVER), { code: 'FLIST_STORE_DENIED' })
  t.equal(seen.length, 1, 'not asked again with the same')
  writeFileSync(file, `${SECRET}\n`)
  t.ok(await source.has?.(id, NEVER))
  writeFileSync(file, 'not looked at while all is well')
  t.ok(await source.get(id, NEVER))
})

void t.test('the token comes from a file, a variable, or the table of the host', async (t) => {
  const { host } = await serve(t, [block], SECRET)
  const file = join(t.testdir({ token: `${SECRET}\n` }), 'token')
  process.env['TEST_TOKEN'] = SECRET
  for (const words of [`token-file=${file}`, 'token-env=TEST_TOKEN']) {
    t.ok(await (await open(t, `server://http://${host}?${words}`)).get(id, NEVER), words)
    await t.rejects(open(t, `server://http://${host}?${words}`, false), { code: 'FLIST_STORE_DENIED' })
  }
  const table = join(config, 'flistfs/credentials.toml')
  mkdirSync(join(config, 'flistfs'), { recursive: true })
  writeFileSync(table, `["${host}"]\ntoken = "${SECRET}"\n`, { mode: 0o600 })
  const url = `server://http://${host}`
  await t.rejects((await open(t, url)).get(id, NEVER), { code: 'FLIST_STORE_DENIED' }, 'not without TLS')
  writeFileSync(table, `["${host}"]\ntoken = "${SECRET}"\nplain_http = true\n`)
  for (const trusted of [true, false]) t.ok(await (await open(t, url, trusted)).get(id, NEVER))
  chmodSync(table, 0o644)
  await t.rejects(open(t, url), { code: 'FLIST_STORE_DENIED', hint: /chmod 600/ })
  t.ok(await open(t, 'server://http://[::1]:1'), 'it says nothing of other hosts, so it may be open')
})
