import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { compileArchive, hashArchive, openIndex } from '../../lib/flist/index.ts'
import { packFolder, type PackResult } from '../../lib/make/index.ts'
import { openReader } from '../../lib/store/index.ts'
import { NO_REDIS, startRedis } from '../store/redis-server.ts'
import { ACCESS, NO_S3, SECRET, startGateway } from '../store/versitygw.ts'

const NEVER = new AbortController().signal
const PASSWORD = 'hunter2-s3cr3t'
const FILES = 40

/** A folder whose files are all different, but for one that is there twice. */
function makeTree(t: Test): string {
  const files = Object.fromEntries(
    Array.from({ length: FILES }, (_, file) => [`f${file}`, randomBytes(3000 + 7 * file)]),
  )
  // The servers of these tests have the test's own folder.
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-pack-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  mkdirSync(join(dir, 'tree'))
  for (const [name, content] of Object.entries(files)) writeFileSync(join(dir, 'tree', name), content)
  writeFileSync(join(dir, 'tree/copy'), files['f0'] ?? '')
  return dir
}

function pack(
  dir: string,
  urls: readonly string[],
  wishes: { keepSecrets?: boolean; format?: 'fl' | 'v1' } = {},
): Promise<PackResult> {
  const stores = urls.map((url) => ({ start: 0, end: 255, url }))
  const { format = 'fl' } = wishes
  const request = {
    source: join(dir, 'tree'),
    archive: join(dir, `a.${format}`),
    format,
    stores,
    baseDir: dir,
    threads: 2,
  }
  return packFolder({ ...request, ...wishes }, NEVER)
}

/** Reads every block through the archive's own routes, or through others. Returns the routes. */
async function readBack(t: Test, path: string, urls?: readonly string[]): Promise<string[]> {
  const digest = await hashArchive(path, NEVER)
  await compileArchive(path, `${path}.idx`, { digest, signal: NEVER })
  const index = openIndex(`${path}.idx`, digest)
  const named = urls?.map((url) => ({ start: 0, end: 255, url, trusted: true }))
  await using reader = openReader({ routes: named ?? index.routes, baseDir: '/', timeoutMs: 120_000 })
  const { format, hashBytes } = index
  for (let row = 0; row < index.rowCount; row += 1) {
    if (index.count[row] !== 1 || index.pathOf(row).length === 0) continue
    const at = (index.first[row] ?? 0) * hashBytes
    const [id, key] = [index.ids.subarray(at, at + hashBytes), index.keys.subarray(at, at + hashBytes)]
    const plain = await reader.read({ format, id, key, plainBytes: index.size[row] ?? 0 }, NEVER)
    t.ok(plain.equals(readFileSync(join(path, '..', 'tree', index.pathOf(row).toString()))))
  }
  const routes = index.routes.map(({ url }) => url)
  index.close()
  return routes
}

void t.test('packFolder() to a redis', { skip: NO_REDIS, timeout: 600_000 }, async (t) => {
  const { port } = await startRedis(t, ['--requirepass', PASSWORD])
  const dir = makeTree(t)
  const url = `redis://:${PASSWORD}@127.0.0.1:${port}/2`
  const first = await pack(dir, [url])
  t.same([first.blocks, first.newBlocks], [FILES, FILES])
  t.same(await readBack(t, join(dir, 'a.fl'), [url]), [`redis://127.0.0.1:${port}/2`])
  writeFileSync(join(dir, 'tree/new'), 'new')
  t.same((await pack(dir, [url])).newBlocks, 1)
  await pack(dir, [url], { keepSecrets: true })
  t.same(await readBack(t, join(dir, 'a.fl')), [url])
  await pack(dir, [url], { format: 'v1' })
  await readBack(t, join(dir, 'a.v1'), [url])
})

void t.test('packFolder() to a 0-db', { skip: NO_REDIS, timeout: 600_000 }, async (t) => {
  const { port } = await startRedis(t)
  const dir = makeTree(t)
  await pack(dir, [`zdb://127.0.0.1:${port}`], { format: 'v1' })
  t.same(await readBack(t, join(dir, 'a.v1')), [`zdb://127.0.0.1:${port}/default`])
})

void t.test(
  'packFolder() copies blocks to S3 and a folder, and fills up either',
  { skip: NO_S3, timeout: 600_000 },
  async (t) => {
    const gateway = await startGateway(t, '::1')
    const dir = makeTree(t)
    const url = `s3://${ACCESS}:${encodeURIComponent(SECRET)}@${gateway.host}/blocks/here`
    const made = await pack(dir, [url, 'dir:copies'])
    t.same([made.blocks, made.newBlocks], [FILES, FILES])
    const routes = await readBack(t, join(dir, 'a.fl'), [url])
    t.same(routes, [`s3://${gateway.host}/blocks/here`, `dir://${dir}/copies`])
    const bucket = join(gateway.dir, 'blocks/here')
    const objects = readdirSync(bucket)
    t.equal(objects.length, FILES)
    for (const object of objects.slice(0, 5)) rmSync(join(bucket, object))
    rmSync(join(dir, 'copies', (objects[10] ?? '').slice(0, 2), objects[10] ?? ''))
    t.equal((await pack(dir, [url, 'dir:copies'])).newBlocks, 6)
    t.equal(readdirSync(bucket).length, FILES)
  },
)

void t.test('packFolder() leaves no archive where a store fails', { timeout: 600_000 }, async (t) => {
  const dir = makeTree(t)
  const wrong = pack(dir, ['dir:here', 'redis://127.0.0.1:1/0'])
  await t.rejects(wrong, { code: 'FLIST_STORE_UNREACHABLE', message: /^Cannot write to store/ })
  t.notOk(readdirSync(dir).includes('a.fl'))
})
