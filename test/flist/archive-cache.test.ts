import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'
import { detectFormat, hashArchive, indexPathOf, locateIndex, openIndex } from '../../lib/flist/index.ts'
import { goldenDir, NO_GOLDEN } from '../golden.ts'
import { codeOf, file, folder, NEVER, thrownBy, writeArchive } from './helpers.ts'

const NODE = resolve(import.meta.dirname, '../../bin/node')
const CHILD = resolve(import.meta.dirname, 'locate-child.ts')
const DEADLINE_MS = 120_000

function makeArchive(path: string, files = 10): void {
  writeArchive(path, (writer) => {
    const parent = writer.addInode(folder(1, 'folder'))
    for (let at = 0; at < files; at += 1) writer.addInode(file(parent, `file ${at}`))
  })
}

function startChild(archive: string, cacheDir: string): ChildProcess {
  return spawn('sh', [NODE, CHILD, archive, cacheDir], { stdio: ['pipe', 'pipe', 'inherit'], timeout: DEADLINE_MS })
}

async function wordOf(child: ChildProcess): Promise<string> {
  const words: unknown[] = child.stdout
    ? await once(child.stdout, 'data', { signal: AbortSignal.timeout(DEADLINE_MS) })
    : []
  return String(words[0]).trim()
}

void t.test('locateIndex() makes an index once, and finds it again', async (t) => {
  const dir = t.testdir()
  makeArchive(`${dir}/x.fl`)
  const runs: number[] = []
  const options = { cacheDir: `${dir}/cache`, onProgress: (rows: number) => void runs.push(rows) }
  const located = await locateIndex(`${dir}/x.fl`, options, NEVER)
  t.equal(located.digest, await hashArchive(`${dir}/x.fl`, NEVER))
  t.equal(located.indexPath, indexPathOf(`${dir}/cache`, located.digest))
  t.ok(runs.length > 0)
  runs.length = 0
  t.same(await locateIndex(`${dir}/x.fl`, options, NEVER), located)
  t.same(runs, [])
  const index = openIndex(located.indexPath, located.digest)
  t.equal(index.rowCount, 12)
  index.close()
  const left = readdirSync(dirname(located.indexPath)).filter((name) => !/\.idx(\.ok)?$/.test(name))
  t.same(left, [], 'no lock and nothing temporary is left')
})

void t.test('locateIndex() remembers the digest of a file at rest, and of no other', async (t) => {
  const dir = t.testdir()
  makeArchive(`${dir}/x.fl`)
  const cacheDir = `${dir}/cache`
  await locateIndex(`${dir}/x.fl`, { cacheDir }, NEVER)
  t.notOk(existsSync(`${cacheDir}/v1/digests`), 'it changed a moment ago')
  // A file of long ago: in the checkout.
  const old = resolve(import.meta.dirname, '../../fixtures/sample/debian.fl')
  await locateIndex(old, { cacheDir }, NEVER)
  const [record = ''] = readdirSync(`${cacheDir}/v1/digests`)
  const text = readFileSync(`${cacheDir}/v1/digests/${record}`, 'latin1')
  t.equal(text.split('\n')[1], await hashArchive(old, NEVER))
  // What is remembered is believed as long as the stamp is the file's.
  writeFileSync(`${cacheDir}/v1/digests/${record}`, text.replace(/\n[0-9a-f]{64}/, `\n${'e'.repeat(64)}`))
  t.match(await thrownBy(() => locateIndex(old, { cacheDir, digest: '0'.repeat(64) }, NEVER)), { message: /e{64}/ })
  writeFileSync(
    `${cacheDir}/v1/digests/${record}`,
    text.replace(/^\d+/, '99').replace(/\n[0-9a-f]{64}/, `\n${'e'.repeat(64)}`),
  )
  const error = await thrownBy(() => locateIndex(old, { cacheDir, digest: '0'.repeat(64) }, NEVER))
  t.notMatch(error, { message: /e{64}/ })
})

void t.test('locateIndex() refuses an archive that is not the pinned one', async (t) => {
  const dir = t.testdir()
  makeArchive(`${dir}/x.fl`)
  const cacheDir = `${dir}/cache`
  const digest = await hashArchive(`${dir}/x.fl`, NEVER)
  t.equal(
    await codeOf(() => locateIndex(`${dir}/x.fl`, { cacheDir, digest: '0'.repeat(64) }, NEVER)),
    'FLIST_DIGEST_MISMATCH',
  )
  t.equal((await locateIndex(`${dir}/x.fl`, { cacheDir, digest: digest.toUpperCase() }, NEVER)).digest, digest)
})

void t.test('locateIndex() makes a damaged index anew', async (t) => {
  const dir = t.testdir()
  makeArchive(`${dir}/x.fl`)
  const cacheDir = `${dir}/cache`
  const { indexPath, digest } = await locateIndex(`${dir}/x.fl`, { cacheDir }, NEVER)
  const whole = readFileSync(indexPath)
  for (const bytes of [whole.subarray(0, 700), Buffer.alloc(whole.length), Buffer.alloc(0)]) {
    rmSync(indexPath)
    writeFileSync(indexPath, bytes)
    await locateIndex(`${dir}/x.fl`, { cacheDir }, NEVER)
    t.ok(readFileSync(indexPath).equals(whole))
  }
  openIndex(indexPath, digest).close()
})

void t.test('locateIndex() clears the lock of a process that is gone', async (t) => {
  const dir = t.testdir()
  makeArchive(`${dir}/x.fl`)
  const cacheDir = `${dir}/cache`
  const digest = await hashArchive(`${dir}/x.fl`, NEVER)
  const lock = `${indexPathOf(cacheDir, digest)}.lock`
  mkdirSync(dirname(lock), { recursive: true })
  const signal = AbortSignal.timeout(DEADLINE_MS)
  // This process's number, but another start: the number was given again.
  for (const text of ['4194303 1', `${process.pid} 1`, `${process.pid} `, '']) {
    writeFileSync(lock, text)
    utimesSync(lock, 1, 1)
    rmSync(indexPathOf(cacheDir, digest), { force: true })
    await locateIndex(`${dir}/x.fl`, { cacheDir }, signal)
    t.ok(existsSync(indexPathOf(cacheDir, digest)), JSON.stringify(text))
    t.notOk(existsSync(lock))
  }
})

void t.test('locateIndex() waits for a lock that is held, and gives up when its signal says so', async (t) => {
  const dir = t.testdir()
  makeArchive(`${dir}/x.fl`)
  const cacheDir = `${dir}/cache`
  const digest = await hashArchive(`${dir}/x.fl`, NEVER)
  const lock = `${indexPathOf(cacheDir, digest)}.lock`
  mkdirSync(dirname(lock), { recursive: true })
  const stat = readFileSync('/proc/self/stat', 'latin1')
  writeFileSync(lock, `${process.pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}\n`)
  const controller = new AbortController()
  const work = codeOf(() => locateIndex(`${dir}/x.fl`, { cacheDir }, controller.signal))
  controller.abort()
  t.equal(await work, 'FLIST_INTERRUPTED')
  t.ok(existsSync(lock), 'a lock that is held stays')
})

void t.test('locateIndex() in two processes makes one index', { timeout: 2 * DEADLINE_MS }, async (t) => {
  const dir = t.testdir()
  makeArchive(`${dir}/x.fl`, 30_000)
  const children = [startChild(`${dir}/x.fl`, `${dir}/cache`), startChild(`${dir}/x.fl`, `${dir}/cache`)]
  t.same(await Promise.all(children.map(wordOf)), ['ready', 'ready'])
  const words = children.map(wordOf)
  for (const child of children) child.stdin?.write('go\n')
  const digest = await hashArchive(`${dir}/x.fl`, NEVER)
  t.same((await Promise.all(words)).sort(), [`${digest} compiled`, `${digest} found`])
  for (const child of children) child.stdin?.end()
  await Promise.all(children.map(async (child) => child.exitCode ?? (await once(child, 'exit'))))
})

void t.test('locateIndex() in one process makes one index', async (t) => {
  const dir = t.testdir()
  makeArchive(`${dir}/x.fl`)
  let runs = 0
  const options = { cacheDir: `${dir}/cache`, onProgress: () => void (runs += 1) }
  const alone = { ...options, cacheDir: `${dir}/alone` }
  await locateIndex(`${dir}/x.fl`, alone, NEVER)
  const once = runs
  await Promise.all([1, 2, 3].map(() => locateIndex(`${dir}/x.fl`, options, NEVER)))
  t.equal(runs, 2 * once)
})

void t.test('locateIndex() says what is wrong with a path', async (t) => {
  const dir = t.testdir({ text: 'not an archive', 'old.flist': 'x' })
  const options = { cacheDir: `${dir}/cache` }
  t.equal(await codeOf(() => locateIndex(`${dir}/gone.fl`, options, NEVER)), 'FLIST_NOT_FOUND')
  t.equal(await codeOf(() => locateIndex(dir, options, NEVER)), 'FLIST_NOT_FOUND')
  t.equal(await codeOf(() => hashArchive(dir, NEVER)), 'FLIST_NOT_FOUND')
  t.equal(await codeOf(() => hashArchive('/dev/null', NEVER)), 'FLIST_NOT_FOUND')
  t.equal(await codeOf(() => locateIndex(`${dir}/text`, options, NEVER)), 'FLIST_FORMAT_UNKNOWN')
  makeArchive(`${dir}/x.fl`)
  t.equal(await codeOf(() => locateIndex(`${dir}/x.fl`, { cacheDir: `${dir}/text` }, NEVER)), 'FLIST_CACHE_UNUSABLE')
  t.equal(await codeOf(() => hashArchive(`${dir}/x.fl`, AbortSignal.abort())), 'FLIST_INTERRUPTED')
})

void t.test('locateIndex() refuses what is no archive before it reads all of it', async (t) => {
  const dir = t.testdir({ 'disk.img': '' })
  truncateSync(join(dir, 'disk.img'), 8 * 2 ** 30)
  const located = locateIndex(join(dir, 'disk.img'), { cacheDir: join(dir, 'cache') }, AbortSignal.timeout(60_000))
  await t.rejects(located, { code: 'FLIST_FORMAT_UNKNOWN' })
})

void t.test('detectFormat() goes by content', { skip: NO_GOLDEN }, async (t) => {
  const dir = t.testdir()
  copyFileSync(`${goldenDir()}/fl/empty.fl`, `${dir}/name.flist`)
  copyFileSync(`${goldenDir()}/v1/empty.flist`, `${dir}/name.fl`)
  t.equal(await detectFormat(`${dir}/name.flist`), 'fl')
  t.equal(await detectFormat(`${dir}/name.fl`), 'v1')
  t.ok(statSync(`${dir}/name.fl`).size > 0)
})
