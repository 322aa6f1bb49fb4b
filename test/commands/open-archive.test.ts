import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { openArchive } from '../../lib/commands/open-archive.ts'

const SAMPLE = new URL('../../fixtures/sample/debian.fl', import.meta.url)
const { signal } = new AbortController()

void t.test('openArchive() fetches a kept copy again that is damaged', async (t) => {
  const content = readFileSync(SAMPLE)
  const asked: string[] = []
  const server = createServer((request, response) => {
    if (request.url !== '/a.fl') return void response.writeHead(404).end()
    const isKept = request.headers['if-none-match'] === '"one"'
    asked.push(isKept ? 'unless it changed' : 'whole')
    response.writeHead(isKept ? 304 : 200, { etag: '"one"' }).end(isKept ? undefined : content)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const cacheDir = join(t.testdir(), 'cache')
  const archive = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a.fl`
  const open = async (): Promise<string[]> => {
    const warnings: string[] = []
    const report = { warn: (message: string) => void warnings.push(message), progress: undefined }
    using opened = await openArchive({ archive, cacheDir, hub: undefined }, report, signal)
    t.strictSame(readFileSync(opened.path), content)
    return warnings
  }
  t.strictSame(await open(), [])

  const folder = join(cacheDir, 'v1/archives')
  const [name = ''] = readdirSync(folder)
  for (const [what, damaged] of [
    ['unreadable', Buffer.alloc(content.length)],
    // The last page of a table: still an archive, but another one.
    ['another', Buffer.concat([content.subarray(0, -1), Buffer.from([(content.at(-1) ?? 0) ^ 1])])],
  ] as const) {
    writeFileSync(join(folder, name), damaged)
    rmSync(join(cacheDir, 'v1/digests'), { recursive: true, force: true })
    asked.length = 0
    t.match(await open(), [/copy of "http.*is damaged/], what)
    t.strictSame(asked, ['unless it changed', 'whole'], what)
  }
  t.strictSame(await open(), [])
})
