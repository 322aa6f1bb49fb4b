import { execFileSync } from 'node:child_process'
import { appendFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  type Change,
  convertImage,
  diffArchives,
  exportArchive,
  findPath,
  FlistError,
  inspectArchive,
  mergeArchives,
  openArchive,
  packArchive,
  readArchiveFile,
  rowStat,
  statArchivePaths,
  unpackArchive,
  verifyArchive,
  walk,
} from '../../lib/index.ts'
import { only } from '../only.ts'

const ROOT = join(import.meta.dirname, '../..')
const NEVER = new AbortController().signal

t.test('the door of the package packs, looks, compares, checks and unpacks', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ tree: { one: 'first', folder: { two: 'second '.repeat(100_000) } } })
  const at = (name: string): string => join(dir, name)
  const cacheDir = at('cache')
  const stores = [`dir://${at('blocks')}`]
  const where = { cacheDir, stores }
  const packed = await packArchive({ source: at('tree'), archive: at('a.fl'), ...where }, NEVER)
  t.match(packed, { entries: 4, format: 'fl', problemCount: 0, bytes: 700_005 })

  {
    using archive = await openArchive(at('a.fl'), { cacheDir, digest: packed.digest }, NEVER)
    t.equal(archive.index.rowCount, 4)
    const paths: string[] = []
    for (const { path } of walk(archive.index, 0, Buffer.alloc(0))) paths.push(path.toString())
    t.strictSame(paths, ['', 'folder', 'folder/two', 'one'])
    t.equal(rowStat(archive.index, findPath(archive.index, Buffer.from('folder/two')).row).size, 700_000)
    t.match(await inspectArchive(archive, NEVER), { digest: packed.digest, format: 'fl' })
    t.match(only(await statArchivePaths(archive, ['one'])), { path: 'one', size: 5, type: 'file' })
    const pieces: Buffer[] = []
    for await (const piece of readArchiveFile(archive, 'folder/two', { cacheDir }, NEVER)) pieces.push(piece)
    t.equal(Buffer.concat(pieces).toString(), 'second '.repeat(100_000))
    await t.rejects(readArchiveFile(archive, 'folder', {}, NEVER).next(), { code: 'FLIST_USAGE' })
    await t.rejects(readArchiveFile(archive, 'none', {}, NEVER).next(), { code: 'FLIST_USAGE' })
  }

  appendFileSync(at('tree/one'), ', changed')
  writeFileSync(at('tree/three'), 'third')
  const changes: Change[] = []
  const counts = await diffArchives(
    {
      before: at('a.fl'),
      after: at('tree'),
      cacheDir,
      ignore: new Set(['mtime']),
      onChange: (one) => changes.push(one),
    },
    NEVER,
  )
  t.match(counts, { added: 1, removed: 0, changed: 1 })
  t.strictSame(
    changes.map(({ path, change }) => `${change} ${path.toString()}`),
    ['changed one', 'added three'],
  )
  // As programs in JavaScript say it.
  const unsaid: object = { format: undefined, exclude: undefined, sync: undefined, sign: undefined }
  const request = { source: at('tree'), archive: at('b.fl'), base: at('a.fl'), ...where, ...unsaid }
  const newer = await packArchive(request, NEVER)
  t.equal(newer.format, 'fl')
  t.equal(newer.reused, 1)

  const merged = await mergeArchives({ archives: [at('a.fl'), at('b.fl')], output: at('c.fl'), cacheDir }, NEVER)
  t.equal(merged.entries, 5)
  const checked = await verifyArchive({ archive: at('c.fl'), look: 'deep', cacheDir }, NEVER)
  t.match(checked, { entries: 5, missing: 0, damaged: 0, unrouted: 0 })

  const out = await unpackArchive({ archive: at('c.fl'), directory: at('out'), cacheDir }, NEVER)
  t.match(out, { entries: 5, digest: merged.digest })
  execFileSync('diff', ['-r', at('tree'), at('out')])

  const exported = await exportArchive({ archive: at('c.fl'), image: `oci:${at('layout')}:it`, cacheDir }, NEVER)
  t.match(exported, { entries: 5, leftOut: { length: 0 } })
  const image = { image: `oci:${at('layout')}:it`, archive: at('d.fl'), startup: false, ...where }
  const converted = await convertImage(image, NEVER)
  t.match(converted, { entries: 5, imageDigest: exported.imageDigest })
  t.equal(converted.newBlocks, 0)
  const same = await diffArchives({ before: at('c.fl'), after: at('d.fl'), cacheDir }, NEVER)
  t.match(same, { added: 0, removed: 0, changed: 0 })

  for (const shard of readdirSync(at('blocks'))) rmSync(join(at('blocks'), shard), { recursive: true })
  const broken = await verifyArchive({ archive: at('c.fl'), look: 'blocks', cacheDir }, NEVER)
  t.equal(broken.missing, broken.blocks)
})

t.test('the example of docs/library.md runs', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ tree: { etc: { hostname: 'it is here' } } })
  const [, example = ''] = /```js\n(.*?)```/s.exec(readFileSync(join(ROOT, 'docs/library.md'), 'utf8')) ?? []
  const program = example
    .replace("'flistfs'", JSON.stringify(join(ROOT, 'lib/index.ts')))
    .replace('dir:///srv/blocks', `dir://${join(dir, 'blocks')}`)
  const env = { ...process.env, FLISTFS_CACHE: join(dir, 'cache') }
  const words = ['--input-type=module', '-e', program]
  t.equal(execFileSync(process.execPath, words, { cwd: dir, env, encoding: 'utf8' }), 'it is here')
  execFileSync('diff', ['-r', join(dir, 'tree'), join(dir, 'copy')])
})

t.test('the door of the package throws coded errors, and hears an interrupt', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ tree: { one: 'first' }, 'text.fl': 'no archive' })
  const at = (name: string): string => join(dir, name)
  const cacheDir = at('cache')
  const request = { source: at('tree'), archive: at('a.fl'), stores: [`dir://${at('blocks')}`] }
  await t.rejects(packArchive({ ...request, stores: [] }, NEVER), { code: 'FLIST_USAGE' })
  await t.rejects(packArchive({ ...request, source: at('none') }, NEVER), { code: 'FLIST_NOT_FOUND' })
  await t.rejects(openArchive(at('text.fl'), { cacheDir }, NEVER), { code: 'FLIST_FORMAT_UNKNOWN' })
  await packArchive(request, NEVER)
  await t.rejects(openArchive(at('a.fl'), { cacheDir, digest: '0'.repeat(64) }, NEVER), {
    code: 'FLIST_DIGEST_MISMATCH',
  })
  const reason = new FlistError('FLIST_INTERRUPTED', 'Cannot finish: enough')
  await t.rejects(packArchive({ ...request, archive: at('b.fl') }, AbortSignal.abort(reason)), {
    code: 'FLIST_INTERRUPTED',
  })
  t.strictSame(
    readdirSync(dir).filter((name) => name.includes('b.fl')),
    [],
  )
  t.ok(readFileSync(at('a.fl')).length > 0)
})

t.test('options that a compiler would refuse are named', async (t) => {
  const pack = (words: object): Promise<unknown> =>
    packArchive({ source: 'absent', archive: 'absent.fl', stores: [], ...words }, NEVER)
  const wrong: [() => Promise<unknown>, string][] = [
    [() => pack({ format: 'zz' }), 'The option "format" is "zz", not one of "fl", "v1"'],
    [() => pack({ threads: 0 }), 'The option "threads" is 0, not a whole number above 0'],
    [() => openArchive('a.fl', { cacheDir: '' }, NEVER), 'The option "cacheDir" is "", not the path of a folder'],
    [
      () => verifyArchive({ archive: 'absent.fl', ...({ look: 'foo' } as object) }, NEVER),
      'The option "look" is "foo", not one of "structure", "blocks", "deep"',
    ],
    [
      () => unpackArchive({ archive: 'absent.fl', directory: 'out', timeoutMs: -5 }, NEVER),
      'The option "timeoutMs" is -5, not a number above 0',
    ],
    [
      () => openArchive('absent.fl', { digest: 'sha256:1' }, NEVER),
      'The option "digest" is "sha256:1", not a SHA-256 as 64 hex digits',
    ],
  ]
  for (const [call, message] of wrong) {
    // Some throw before they have a promise.
    await t.rejects(async () => call(), { code: 'FLIST_USAGE', message })
  }
})
