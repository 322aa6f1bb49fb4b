import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { pack as tarStream } from 'tar-stream'
import t, { type Test } from 'tap'
import { compileArchive, hashArchive, openIndex, type FlistIndex } from '../../lib/flist/index.ts'
import { packTar, type PackResult, type PackTarRequest } from '../../lib/make/index.ts'
import { differ, factsOfFolder, factsOfIndex } from './facts.ts'
import { makeNasty } from './nasty.ts'

const NEVER = new AbortController().signal
const PROGRAM = join(import.meta.dirname, '../../bin/flistfs')

function pack(dir: string, tar: string, name: string, wishes: Partial<PackTarRequest> = {}): Promise<PackResult> {
  const stores = [{ start: 0, end: 255, url: 'dir:blocks' }]
  const request = {
    source: join(dir, tar),
    archive: join(dir, name),
    format: 'fl',
    stores,
    baseDir: dir,
    threads: 1,
  } as const
  return packTar({ ...request, ...wishes }, NEVER)
}

async function indexOf(t: Test, path: string): Promise<FlistIndex> {
  const digest = await hashArchive(path, NEVER)
  await compileArchive(path, `${path}.idx`, { digest, signal: NEVER })
  const index = openIndex(`${path}.idx`, digest)
  t.teardown(() => index.close())
  return index
}

type TestEntry = Parameters<ReturnType<typeof tarStream>['entry']>[0] & { content?: string }

/** A tar of these entries. */
function tarOf(...entries: readonly TestEntry[]): Promise<Buffer> {
  const tar = tarStream()
  for (const { content, ...header } of entries) tar.entry({ mtime: new Date(1000), ...header }, content ?? '')
  tar.finalize()
  return buffer(tar)
}

void t.test('packTar() gives what packing the folder gives', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({})
  const tree = join(dir, 'tree')
  const xattrs = makeNasty(tree, { links: 50, entries: 200 })
  const words = [
    '--format=posix',
    '--sparse',
    '--xattrs',
    '--xattrs-include=*',
    '-cf',
    join(dir, 'a.tar'),
    '-C',
    tree,
    '.',
  ]
  execFileSync('tar', words, { stdio: 'ignore' })
  const made = await pack(dir, 'a.tar', 'a.fl')
  const index = await indexOf(t, join(dir, 'a.fl'))
  const facts = await factsOfIndex(index, join(dir, 'blocks'), { format: 'fl' })
  t.same(differ(factsOfFolder(tree, { format: 'fl' }), facts), [])
  const [row] = Array.from({ length: index.rowCount }, (_, row) => row).filter(
    (row) => index.pathOf(row).toString() === 'attributes',
  )
  const found = index.xattrs(row ?? -1).map(({ name }) => name.toString())
  t.ok(
    [...(xattrs.get('attributes')?.keys() ?? [])]
      .filter((name) => !name.startsWith('system.'))
      .every((name) => found.includes(name)),
  )
  writeFileSync(join(dir, 'a.tar.gz'), gzipSync(readFileSync(join(dir, 'a.tar'))))
  writeFileSync(join(dir, 'a.tar.zst'), zstdCompressSync(readFileSync(join(dir, 'a.tar'))))
  for (const name of ['a.tar.gz', 'a.tar.zst']) {
    const again = await pack(dir, name, `${name}.fl`, { threads: 3 })
    t.equal(again.digest, made.digest)
    t.equal(again.newBlocks, 0)
  }
})

void t.test('packTar() takes names that come again as unpacking does', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({})
  const tar = await tarOf(
    { name: 'late/file', content: 'without a folder of its own' },
    { name: 'twice', content: 'first' },
    { name: './twice', content: 'second time' },
    { name: '/rooted', content: 'r' },
    { name: 'hard', type: 'link', linkname: 'twice' },
    { name: 'twice', content: 'third' },
    { name: '.wh.kept', content: 'no whiteout' },
    { name: 'late', type: 'directory', mode: 0o700, uid: 7, gid: 8 },
  )
  writeFileSync(join(dir, 'a.tar'), tar)
  t.same((await pack(dir, 'a.tar', 'a.fl')).problems, [])
  const index = await indexOf(t, join(dir, 'a.fl'))
  const facts = await factsOfIndex(index, join(dir, 'blocks'), { format: 'fl' })
  t.same([...facts.keys()].sort(), ['', '.wh.kept', 'hard', 'late', 'late/file', 'rooted', 'twice'])
  t.match(facts.get('late'), /^40700\|7:8\|/)
  t.match(facts.get('twice'), /\|5\|\|1000000000\|1\|/)
  t.match(facts.get('hard'), /\|11\|\|1000000000\|1\|/)
})

void t.test('packTar() changes owners and times, and leaves out', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({})
  const tar = await tarOf(
    { name: 'keep/a', content: 'a', uid: 5 },
    { name: 'drop/b', content: 'b' },
    { name: 'keep/c.log', content: 'c' },
    { name: 'keep/hard', type: 'link', linkname: 'drop/b' },
  )
  writeFileSync(join(dir, 'a.tar'), tar)
  const time = { seconds: 5, nanoseconds: 6 }
  const made = await pack(dir, 'a.tar', 'a.fl', { uid: 1, gid: 2, time, exclude: ['drop', '*.log'] })
  t.same(
    made.problems.map(({ path, what }) => [path, what]),
    [['keep/hard', 'refused']],
  )
  t.equal(made.bytes, 1)
  const index = await indexOf(t, join(dir, 'a.fl'))
  t.same(
    Array.from({ length: index.rowCount }, (_, row) => index.pathOf(row).toString()),
    ['', 'keep', 'keep/a'],
  )
  t.same([...index.owners.subarray(2 * (index.owner[2] ?? 0), 2 * (index.owner[2] ?? 0) + 2)], [1, 2])
  t.same([index.mtime[4], index.mtimeNs?.[2]], [5, 6])
})

void t.test('packTar() refuses what leads outside, and what is no tar', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({})
  const cases: [string, Buffer][] = [
    ['up', await tarOf({ name: '../x', content: 'x' })],
    ['through a link', await tarOf({ name: 'l', type: 'symlink', linkname: '../..' }, { name: 'l/x', content: 'x' })],
    ['a hard link outside', await tarOf({ name: 'h', type: 'link', linkname: '../../etc/passwd' })],
    ['cut', (await tarOf({ name: 'x', content: 'x'.repeat(5000) })).subarray(0, 3000)],
    ['no tar', Buffer.alloc(4096, 'no tar')],
  ]
  for (const [name, bytes] of cases) {
    writeFileSync(join(dir, 'a.tar'), bytes)
    await t.rejects(pack(dir, 'a.tar', 'a.fl'), { code: 'FLIST_IMAGE_DAMAGED' }, name)
  }
  await t.rejects(pack(dir, 'none.tar', 'a.fl'), { code: 'FLIST_NOT_FOUND' })
  t.throws(() => readFileSync(join(dir, 'a.fl')), { code: 'ENOENT' })
  const tar = await tarOf({ name: 'x', content: 'x' })
  writeFileSync(join(dir, 'a.tar'), tar)
  await t.rejects(pack(dir, 'a.tar', 'a.tar'), { code: 'FLIST_USAGE', message: /is what is read/ })
  t.ok(readFileSync(join(dir, 'a.tar')).equals(tar), 'a tar is not packed into itself')
})

void t.test('pack reads a tar from a pipe', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({})
  mkdirSync(join(dir, 'home'))
  const words = [PROGRAM, 'pack', '-', join(dir, 'a.fl'), '--store', `dir:${join(dir, 'blocks')}`, '--json']
  const env = { ...process.env, HOME: join(dir, 'home'), FLISTFS_CONFIG: '', FLISTFS_STORE: '' }
  const child = spawn('sh', words, { env, stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(gzipSync(await tarOf({ name: 'a', content: 'a' })))
  const made = JSON.parse((await buffer(child.stdout)).toString()) as PackResult
  t.match(made, { entries: 2, bytes: 1, blocks: 1, newBlocks: 1, problemCount: 0 })
  const input = openSync(join(dir, 'a.fl'), 'r')
  const { status, stderr } = spawnSync('sh', words, { env, stdio: [input, 'ignore', 'pipe'], encoding: 'utf8' })
  closeSync(input)
  t.equal(status, 2)
  t.match(stderr, /is what is read/)
})

void t.test('pack hears an interrupt while a pipe says nothing', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ home: {} })
  const [fifo, blocks] = [join(dir, 'fifo'), join(dir, 'blocks')]
  execFileSync('mkfifo', [fifo])
  const env = { ...process.env, HOME: join(dir, 'home'), FLISTFS_CONFIG: '', FLISTFS_STORE: '' }
  const half = (await tarOf({ name: 'a', content: 'a'.repeat(8_000_000) })).subarray(0, 6_000_000)
  for (const source of ['-', fifo]) {
    const words = [PROGRAM, 'pack', source, join(dir, 'a.fl'), '--store', `dir:${blocks}`, '--json']
    const child = spawn('sh', words, { env, stdio: ['pipe', 'ignore', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    const ended = once(child, 'exit', { signal: AbortSignal.timeout(120_000) })
    const said = buffer(child.stderr)
    const writer = source === '-' ? child.stdin : createWriteStream(fifo)
    // It goes before all is read.
    writer.on('error', () => {})
    writer.write(half)
    const isReading = (): boolean => existsSync(blocks) && readdirSync(blocks).some((name) => name !== '.tmp')
    while (!isReading() && child.exitCode === null) await sleep(10)
    child.kill('SIGINT')
    t.strictSame(await ended, [130, null], source)
    t.match((await said).toString(), 'FLIST_INTERRUPTED')
    writer.destroy()
    rmSync(blocks, { recursive: true })
  }
})
