import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { resolveArchive } from '../../lib/store/archive-name.ts'
import { openSink, openSource } from '../../lib/store/open.ts'
import { makeBlock, NEVER } from './blocks.ts'

const { ref, stored } = await makeBlock(5000)

/** A server that sends everybody elsewhere, and one there that lets nobody in; `seen`: the secrets that the second was told. */
async function start(t: Test): Promise<{ host: string; other: string; seen: (string | undefined)[] }> {
  const seen: (string | undefined)[] = []
  const guard = createServer((request, response) => {
    seen.push(request.headers.authorization)
    response.writeHead(401).end()
  })
  const servers = [
    guard,
    createServer((request, response) => {
      response.writeHead(301, { location: `http://${other}${request.url}` }).end()
    }),
  ]
  for (const server of servers) await new Promise<void>((resolve) => server.listen(0, '::1', resolve))
  t.teardown(() => {
    for (const server of servers) server.close()
  })
  const [other, host] = servers.map((server) => `[::1]:${(server.address() as AddressInfo).port}`) as [string, string]
  return { host, other, seen }
}

async function got(url: string): Promise<unknown> {
  await using source = await openSource(url, { baseDir: '/', trusted: true, timeoutMs: 60_000 })
  return await source.get(ref.id, NEVER)
}

async function put(url: string): Promise<void> {
  await using sink = await openSink(url, '/')
  await sink.put(ref.id, stored, NEVER)
}

void t.test('who is sent elsewhere is told where, and that no secret goes there', async (t) => {
  const { host, other, seen } = await start(t)
  const denied = {
    code: 'FLIST_STORE_DENIED',
    message: `"http://${other}", which is told no secrets`,
    hint: 'Write that address',
  }
  await t.rejects(got(`http://me:hunter2@${host}/x`), denied)
  await t.rejects(got(`server://http://${host}?token=hunter2`), denied)
  await t.rejects(got(`http://${host}/x`), { code: 'FLIST_STORE_DENIED', hint: 'password-file' }, 'without secrets')
  const options = { cacheDir: t.testdir({}), hub: undefined, digest: undefined }
  await t.rejects(resolveArchive(`http://me:hunter2@${host}/a.fl`, options, NEVER), {
    code: 'FLIST_STORE_DENIED',
    message: `401, by "http://${other}", which is told no secrets`,
    hint: 'write that address',
  })
  t.ok(seen.length >= 4 && seen.every((secret) => secret === undefined), 'nothing was told')
})

void t.test('what is not followed is named', async (t) => {
  const { host, other, seen } = await start(t)
  const moved = {
    code: 'FLIST_STORE_PROTOCOL',
    message: `it redirects to "http://${other}"`,
    hint: 'Write that address',
  }
  await t.rejects(got(`s3://key:hunter2@${host}/bucket`), moved)
  await t.rejects(put(`s3://key:hunter2@${host}/bucket`), moved)
  await t.rejects(put(`server://http://${host}?token=hunter2`), moved)
  await t.rejects(put(`server://http://me:hunter2@${host}`), moved)
  t.strictSame(seen, [], 'nobody went there')
})
