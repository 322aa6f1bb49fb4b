import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import type { S3Credentials } from '../../lib/store/aws-credentials.ts'
import { openSink, openSource } from '../../lib/store/open.ts'
import type { BlockSource } from '../../lib/store/port.ts'
import { retrying } from '../../lib/store/retrying.ts'
import { S3Source } from '../../lib/store/source-s3.ts'
import { parseStoreUrl } from '../../lib/store/store-url.ts'
import { WebClient } from '../../lib/store/web-client.ts'
import { makeBlock, NEVER, type TestBlock } from './blocks.ts'
import { storeSuite } from './store-suite.ts'
import { ACCESS, type Gateway, NO_S3, SECRET, startGateway } from './versitygw.ts'

const LOGIN = `${ACCESS}:${encodeURIComponent(SECRET)}`
const block = await makeBlock(50_000)
const { id } = block.ref

// What the machine of the test has must not decide it.
const clean = t.testdir({ home: { '.aws': {} }, config: { flistfs: {} } })
for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
process.env['HOME'] = join(clean, 'home')
process.env['XDG_CONFIG_HOME'] = join(clean, 'config')

function put({ dir }: Gateway, blocks: readonly TestBlock[], folder = 'blocks'): void {
  mkdirSync(join(dir, folder), { recursive: true })
  for (const { ref, stored } of blocks) writeFileSync(join(dir, folder, ref.id.toString('hex')), stored)
}

async function open(t: Test, url: string, trusted = true): Promise<BlockSource> {
  const source = await openSource(url, { baseDir: '/', trusted, timeoutMs: 60_000 })
  t.teardown(() => source[Symbol.asyncDispose]())
  return source
}

async function failure(source: BlockSource): Promise<unknown> {
  const error: unknown = await source.get(id, NEVER).then(
    () => new Error('it gave the block'),
    (thrown: unknown) => thrown,
  )
  t.notMatch(inspect(error, { depth: 20, showHidden: true }) + source.name, 'hunter2')
  return error
}

for (const address of ['127.0.0.1', '::1']) {
  void t.test(`s3 store on ${address}`, { skip: NO_S3, timeout: 600_000 }, async (t) => {
    const gateway = await startGateway(t, address)
    await storeSuite(t, async (blocks) => {
      put(gateway, blocks)
      return openSource(`s3://${LOGIN}@${gateway.host}/blocks`, { baseDir: '/' })
    })
  })
}

void t.test('keys, buckets, prefixes and regions', { skip: NO_S3, timeout: 600_000 }, async (t) => {
  const gateway = await startGateway(t, '::1', ['--region', 'west-1'])
  const { host } = gateway
  put(gateway, [block])
  put(gateway, [block], "blocks/a b/c+d'(e)")

  await t.test('a prefix with odd characters', async (t) => {
    for (const prefix of ['', '/', "/a%20b/c+d'(e)/", '/a b/c%2Bd%27(e)']) {
      const source = await open(t, `s3://${LOGIN}@${host}/blocks${prefix}?region=west-1`)
      t.ok((await source.get(id, NEVER))?.equals(block.stored), prefix)
    }
    const elsewhere = await open(t, `s3://${LOGIN}@${host}/blocks/none?region=west-1`)
    t.equal(await elsewhere.get(id, NEVER), undefined)
  })

  await t.test('what is refused, and why', async (t) => {
    const wrongSecret = await failure(await open(t, `s3://${ACCESS}:hunter2wrong@${host}/blocks?region=west-1`))
    t.match(wrongSecret, { code: 'FLIST_STORE_DENIED', message: /SignatureDoesNotMatch/, hint: /came from the URL/ })
    const wrongKey = await failure(await open(t, `s3://someone:hunter2@${host}/blocks?region=west-1`))
    t.match(wrongKey, { code: 'FLIST_STORE_DENIED', message: /InvalidAccessKeyId|UserNotFound/, hint: /access key/ })
    const wrongRegion = await failure(await open(t, `s3://${LOGIN}@${host}/blocks?region=east-1`))
    t.match(wrongRegion, { code: 'FLIST_STORE_DENIED', message: /region is wrong/, hint: /\?region=west-1/ })
    const noName = await failure(await open(t, `s3://${LOGIN}@${host}/BLOCKS?region=west-1`))
    t.match(noName, { code: 'FLIST_STORE_PROTOCOL', message: /no bucket "BLOCKS"/, hint: /bucket/ })
    for (const [login, parameter, why] of [
      [`${ACCESS}@`, '', 'an access key without a secret'],
      [`:hunter2@`, '', 'a secret without an access key'],
      ['', '&password-env=FLISTFS_TEST_HALF', 'a secret without an access key'],
    ] as const) {
      process.env['FLISTFS_TEST_HALF'] = 'hunter2'
      const half = await failure(await open(t, `s3://${login}${host}/blocks?region=west-1${parameter}`))
      t.match(half, { code: 'FLIST_STORE_DENIED', message: `there is ${why}`, hint: /password-file/ })
    }
    delete process.env['FLISTFS_TEST_HALF']
    const noBucket = await failure(await open(t, `s3://${LOGIN}@${host}/nothing?region=west-1`))
    t.match(noBucket, { code: 'FLIST_STORE_PROTOCOL', message: /no bucket "nothing"/ })
    const nobody = await failure(await open(t, `s3://${host}/blocks?region=west-1`))
    t.match(nobody, { code: 'FLIST_STORE_DENIED', hint: /AWS_ACCESS_KEY_ID/ })
  })

  await t.test('a clock that is wrong is named', async (t) => {
    const store = parseStoreUrl(`s3://${host}/blocks?region=west-1`, '/')
    const credentials = async (): Promise<S3Credentials> => ({
      accessKey: ACCESS,
      secretKey: SECRET,
      sessionToken: '',
      region: '',
      origin: 'a test',
    })
    const client = await WebClient.open(store.name, 5000)
    const source = new S3Source(store, { client, credentials, now: () => Date.now() - 3 * 3_600_000 })
    t.teardown(() => source[Symbol.asyncDispose]())
    t.match(await failure(source), {
      code: 'FLIST_STORE_DENIED',
      message: /RequestTimeTooSkewed/,
      hint: /set the clock/,
    })
  })

  await t.test('where keys come from, and for whom', async (t) => {
    const url = `s3://${host}/blocks`
    const works = async (trusted: boolean): Promise<boolean> =>
      (await (await open(t, `${url}?region=west-1`, trusted)).get(id, NEVER).catch(() => undefined)) !== undefined

    process.env['AWS_ACCESS_KEY_ID'] = ACCESS
    process.env['AWS_SECRET_ACCESS_KEY'] = SECRET
    process.env['AWS_REGION'] = 'west-1'
    t.ok((await (await open(t, url)).get(id, NEVER))?.equals(block.stored), 'AWS_*, with the region')
    t.notOk(await works(false), 'AWS_* are not for the routes of an archive')
    process.env['AWS_SECRET_ACCESS_KEY'] = `${SECRET}\n`
    t.ok(await works(true), 'a newline at the end is of the file that it came from')
    process.env['AWS_SESSION_TOKEN'] = 'hunter2-over'
    t.match(await failure(await open(t, url)), {
      code: 'FLIST_STORE_DENIED',
      message: /InvalidToken/,
      hint: /Get new keys.* came from AWS_ACCESS_KEY_ID/,
    })
    delete process.env['AWS_SESSION_TOKEN']
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_REGION']) delete process.env[name]

    const keys = join(clean, 'home/.aws/credentials')
    writeFileSync(
      keys,
      `[other]\naws_access_key_id=x\n[work]\naws_access_key_id = ${ACCESS}\naws_secret_access_key= ${SECRET}\n`,
    )
    writeFileSync(
      join(clean, 'home/.aws/config'),
      '# mine\n[profile work]\nregion = west-1\ns3 =\n  region = nowhere\n',
    )
    t.notOk(await works(true), 'the profile is another one')
    process.env['AWS_PROFILE'] = 'work'
    t.ok((await (await open(t, url)).get(id, NEVER))?.equals(block.stored), '~/.aws, with the region')
    t.notOk(await works(false), '~/.aws is not for the routes of an archive')
    process.env['AWS_SHARED_CREDENTIALS_FILE'] = join(clean, 'none')
    t.notOk(await works(true))
    for (const name of ['AWS_PROFILE', 'AWS_SHARED_CREDENTIALS_FILE']) delete process.env[name]

    const file = join(clean, 'config/flistfs/credentials.toml')
    mkdirSync(dirname(file), { recursive: true })
    const table = `["${host}"]\naccess_key = "${ACCESS}"\nsecret_key = "${SECRET}"\nregion = "west-1"\n`
    writeFileSync(file, `["other:1"]\naccess_key = "x"\n${table}`, { mode: 0o600 })
    for (const trusted of [true, false])
      t.ok((await (await open(t, url, trusted)).get(id, NEVER))?.equals(block.stored), 'the file of hosts, for all')
    chmodSync(file, 0o640)
    t.match(await failure(await open(t, url)), {
      code: 'FLIST_STORE_DENIED',
      message: /others may read it/,
      hint: /chmod 600/,
    })
    chmodSync(file, 0o600)
    writeFileSync(file, `["${host}"]\naccess_key = hunter2`)
    t.match(await failure(await open(t, url)), { code: 'FLIST_STORE_DENIED', message: /not TOML/ })
    writeFileSync(file, `["${host}"]\naccess_key = 7`)
    t.match(await failure(await open(t, url)), { code: 'FLIST_STORE_DENIED', message: /access_key/ })
    writeFileSync(file, table.replace('secret_key', 'secret'))
    t.match(await failure(await open(t, url)), {
      code: 'FLIST_STORE_DENIED',
      message: /"secret" of the host means nothing/,
      hint: /access_key, secret_key/,
    })
    for (const [left, why] of [
      ['access_key', 'an access key without'],
      ['secret_key', 'a secret without'],
    ] as const) {
      writeFileSync(file, `["${host}"]\n${left} = "hunter2"\n`)
      t.match(await failure(await open(t, url)), { code: 'FLIST_STORE_DENIED', message: `there is ${why}` })
    }
    writeFileSync(file, table.replace(SECRET, 'hunter2-old'))
    const source = await open(t, url)
    t.match(await failure(source), { code: 'FLIST_STORE_DENIED', message: /SignatureDoesNotMatch/ })
  })
})

void t.test(
  'has() says that it was refused, not that nothing is there',
  { skip: NO_S3, timeout: 600_000 },
  async (t) => {
    const { host, dir } = await startGateway(t, '::1', ['--region', 'west-1'])
    put({ host, dir }, [block])
    const ask = async (login: string, place = 'blocks?region=west-1'): Promise<unknown> => {
      const source = await open(t, `s3://${login}@${host}/${place}`)
      return source.has?.(id, NEVER).catch((error: unknown) => error)
    }
    t.equal(await ask(LOGIN), true)
    t.match(await ask(`${ACCESS}:hunter2wrong`), { code: 'FLIST_STORE_DENIED', message: /SignatureDoesNotMatch/ })
    t.match(await ask('someone:hunter2'), { code: 'FLIST_STORE_DENIED' })
    t.match(await ask(LOGIN, 'nothing?region=west-1'), { code: 'FLIST_STORE_PROTOCOL', message: /no bucket/ })
    t.match(await ask(LOGIN, 'blocks?region=east-1'), { code: 'FLIST_STORE_DENIED', message: /region is wrong/ })
    rmSync(join(dir, 'blocks', id.toString('hex')))
    t.equal(await ask(LOGIN), false)
  },
)

void t.test(
  'a secret that is replaced in its file is used without opening anew',
  { skip: NO_S3, timeout: 600_000 },
  async (t) => {
    const { host, dir } = await startGateway(t, '::1')
    put({ host, dir }, [block])
    const file = join(dirname(dir), 'secret')
    writeFileSync(file, 'hunter2-old')
    const sink = await openSink(`s3://${ACCESS}@${host}/blocks?password-file=${file}`, '/')
    t.teardown(() => sink[Symbol.asyncDispose]())
    const source = await open(t, `s3://${ACCESS}@${host}/blocks?password-file=${file}`)
    t.match(await failure(source), { code: 'FLIST_STORE_DENIED', message: /SignatureDoesNotMatch/ })
    await t.rejects(sink.put(id, block.stored, NEVER), { code: 'FLIST_STORE_DENIED' })
    writeFileSync(file, SECRET)
    t.ok((await source.get(id, NEVER))?.equals(block.stored))
    await sink.put(id, block.stored, NEVER)
  },
)

/** What no real server says on request. */
async function saying(t: Test, answer: (response: ServerResponse, nth: number) => void): Promise<string> {
  let nth = 0
  const server = createServer((_request, response) => answer(response, (nth += 1)))
  await new Promise<void>((resolve) => server.listen(0, '::1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `s3://k:hunter2@[::1]:${(server.address() as AddressInfo).port}/blocks`
}

function xml(code: string, more = ''): string {
  return `<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message>${more}</Error>`
}

void t.test('a store that is busy is asked again', async (t) => {
  const url = await saying(t, (response, nth) => {
    if (nth === 1) response.writeHead(503, { 'retry-after': '0' }).end(xml('SlowDown'))
    else if (nth === 2) response.writeHead(500).end(xml('InternalError'))
    else response.end(block.stored)
  })
  const source = await open(t, url)
  t.ok((await retrying(source, { baseMs: 1 }).get(id, NEVER))?.equals(block.stored))
})

void t.test('answers of other kinds', async (t) => {
  const cases: [number, string, object][] = [
    [404, xml('NoSuchKey'), {}],
    [404, '', {}],
    [404, xml('SomethingElse'), { code: 'FLIST_STORE_PROTOCOL' }],
    [403, xml('AccessDenied'), { code: 'FLIST_STORE_DENIED', hint: /list the bucket/ }],
    [301, xml('PermanentRedirect', '<Region>x-9</Region>'), { code: 'FLIST_STORE_DENIED', hint: /region=x-9/ }],
    [307, '', { code: 'FLIST_STORE_DENIED', hint: /region=NAME/ }],
    [400, xml('InvalidRequest'), { code: 'FLIST_STORE_PROTOCOL', message: /InvalidRequest/ }],
    [418, 'tea', { code: 'FLIST_STORE_PROTOCOL' }],
    [502, '<html>', { code: 'FLIST_STORE_UNREACHABLE' }],
    [401, '', { code: 'FLIST_STORE_DENIED' }],
  ]
  for (const [status, body, expected] of cases) {
    const source = await open(t, await saying(t, (response) => response.writeHead(status).end(body)))
    if (Object.keys(expected).length === 0) t.equal(await source.get(id, NEVER), undefined)
    else t.match(await failure(source), expected, `${status} ${body}`)
  }
})

void t.test('keys that have expired are looked up again', async (t) => {
  const url = await saying(t, (response, nth) => {
    if (nth === 1) response.writeHead(400).end(xml('ExpiredToken'))
    else response.end(block.stored)
  })
  const store = parseStoreUrl(url, '/')
  let asked = 0
  const credentials = async (): Promise<undefined> => void (asked += 1)
  const source = new S3Source(store, { client: await WebClient.open(store.name, 2000), credentials })
  t.teardown(() => source[Symbol.asyncDispose]())
  t.match(await failure(source), { code: 'FLIST_STORE_DENIED', message: /ExpiredToken/ })
  t.ok(await source.get(id, NEVER))
  t.ok(await source.get(id, NEVER))
  t.equal(asked, 2)
})

void t.test('no read fails when keys have expired and others are there', async (t) => {
  let requests = 0
  const url = await saying(t, (response, nth) => {
    requests += 1
    if (nth === 2) response.writeHead(400).end(xml('ExpiredToken'))
    else response.end(block.stored)
  })
  const store = parseStoreUrl(url, '/')
  let sessionToken = 'old'
  const credentials = (): Promise<S3Credentials> =>
    Promise.resolve({ accessKey: 'a', secretKey: 'b', sessionToken, region: '', origin: 'a test' })
  const source = new S3Source(store, { client: await WebClient.open(store.name, 2000), credentials })
  t.teardown(() => source[Symbol.asyncDispose]())
  t.ok(await source.get(id, NEVER))
  sessionToken = 'new'
  t.ok(await source.get(id, NEVER))
  t.equal(requests, 3)
})
