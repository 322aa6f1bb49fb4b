import { createHash, randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { BlockServer } from './block-server.ts'
import { linesOf } from './expected.ts'
import { type Lab, mountTest, until } from './mounted.ts'
import { packFiles } from './pack-tree.ts'

const MIB = 1024 * 1024
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** The different digests that so many readers see, half of them past the page cache. */
async function readers(lab: Lab, path: string, count: number): Promise<string[]> {
  const direct = `dd "if=$1" iflag=direct bs=1M status=none | sha256sum`
  const script = `for n in $(seq ${count / 2}); do sha256sum < "$1" & { ${direct}; } & done; wait`
  const output = await lab.ok('sh', ['-c', script, 'sh', path])
  const digests = output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.slice(0, 64))
  return digests.length === count ? [...new Set(digests)] : [`${digests.length} of ${count} readers`]
}

mountTest('200 readers of one cold file: each block is asked for once', {}, async (t, lab) => {
  const cold = randomBytes(5 * MIB)
  const { archive, store, blocks } = await packFiles(lab.dir, 'a', { cold })
  const server = await BlockServer.open(t, store)
  server.delayMs = 30
  const mounted = await lab.mount(archive, { words: ['--store', server.url] })
  t.strictSame(await readers(lab, `${mounted.directory}/cold`, 200), [sha256(cold)])
  t.strictSame([server.asked.size, server.requests], [blocks, blocks])
})

mountTest('two servers on one cache: each block is asked for once', {}, async (t, lab) => {
  const cold = randomBytes(5 * MIB)
  const { archive, store, blocks } = await packFiles(lab.dir, 'a', { cold })
  const server = await BlockServer.open(t, store)
  server.delayMs = 30
  const words = ['--store', server.url, '--own-process']
  const both = await Promise.all([lab.mount(archive, { words }), lab.mount(archive, { words })])
  t.not(both[0].pid, both[1].pid)
  const seen = await Promise.all(both.map(({ directory }) => readers(lab, `${directory}/cold`, 40)))
  t.strictSame(seen, [[sha256(cold)], [sha256(cold)]])
  t.strictSame([server.asked.size, server.requests], [blocks, blocks])
})

mountTest(
  'beside 200 readers of a stalled store, what is cached is read at once, and all of them can be killed',
  {},
  async (t, lab) => {
    const cached = randomBytes(8 * MIB)
    const files = Object.fromEntries(Array.from({ length: 200 }, (_, nth) => [`stalled-${nth}`, randomBytes(600_000)]))
    const { archive, store } = await packFiles(lab.dir, 'a', { ...files, cached })
    const server = await BlockServer.open(t, store)
    const mounted = await lab.mount(archive, { words: ['--store', server.url, '--on-error', 'wait'] })
    t.strictSame(await readers(lab, `${mounted.directory}/cached`, 2), [sha256(cached)])
    await lab.ok('sh', ['-c', 'echo 1 > /proc/sys/vm/drop_caches'])
    server.behaviour = 'stall'
    const stalled = Object.keys(files).map((name) => lab.start('cat', [`${mounted.directory}/${name}`]))
    await until(async () => ((await lab.stats(mounted)).reads['waiting'] ?? 0) >= 200)
    t.equal((await lab.ok('sha256sum', [`${mounted.directory}/cached`])).slice(0, 64), sha256(cached))
    t.equal(stalled.filter(({ exitCode }) => exitCode !== null).length, 0, 'they still wait')

    for (const reader of stalled) reader.kill('SIGKILL')
    await until(() => stalled.every(({ signalCode }) => signalCode !== null))
    t.pass('killed readers are gone')
  },
)

mountTest(
  'a dead store gives EIO after --timeout, never ENOENT, and the file can be read once the store is back',
  {},
  async (t, lab) => {
    const content = randomBytes(MIB)
    const { archive, store } = await packFiles(lab.dir, 'a', { file: content })
    const server = await BlockServer.open(t, store)
    const mounted = await lab.mount(archive, { words: ['--store', server.url, '--timeout', '2s'] })
    for (const behaviour of ['stall', 'dead'] as const) {
      server.behaviour = behaviour
      const done = await lab.run('cat', [`${mounted.directory}/file`])
      t.match(done.stderr, 'Input/output error', `${behaviour}: EIO`)
      t.equal(
        (await lab.ok('stat', ['-c', '%s', `${mounted.directory}/file`])).trim(),
        String(MIB),
        'the name is still there',
      )
    }
    server.behaviour = 'serve'
    await until(async () => (await lab.run('cat', [`${mounted.directory}/file`])).code === 0)
    t.equal((await lab.ok('sha256sum', [`${mounted.directory}/file`])).slice(0, 64), sha256(content))
    t.ok(linesOf(mounted, 'error').length <= 20, 'the log is not flooded')
    t.match(linesOf(mounted, 'error')[0] ?? '', /"file".*hint="/)
  },
)

for (const behaviour of ['dead', 'corrupt', 'without', 'stall'] as const) {
  mountTest(`the second store serves where the first is ${behaviour}`, {}, async (t, lab) => {
    const content = randomBytes(3 * MIB)
    const { archive, store } = await packFiles(lab.dir, 'a', { file: content })
    const [bad, good] = [await BlockServer.open(t, store), await BlockServer.open(t, store)]
    bad.behaviour = behaviour
    const mounted = await lab.mount(archive, { words: ['--store', bad.url, '--store', good.url] })
    t.equal((await lab.ok('sha256sum', [`${mounted.directory}/file`])).slice(0, 64), sha256(content))
    t.ok(bad.requests > 0, 'the first was asked')
    t.equal(good.repeated, 0, 'the second was asked once for each block')
    if (behaviour !== 'without')
      t.match(linesOf(mounted, 'warn').join('\n'), `"${bad.url}`, 'the log names the store that failed')
  })
}

mountTest('Retry-After is obeyed', {}, async (t, lab) => {
  const content = randomBytes(1000)
  const { archive, store } = await packFiles(lab.dir, 'a', { file: content })
  const server = await BlockServer.open(t, store)
  server.behaviour = 'busy'
  const mounted = await lab.mount(archive, { words: ['--store', server.url] })
  const reading = lab.ok('sha256sum', [`${mounted.directory}/file`])
  await until(() => server.requests > 0)
  server.behaviour = 'serve'
  t.equal((await reading).slice(0, 64), sha256(content))
  t.equal(server.requests, 2)
  t.ok((server.times[1] ?? 0) - (server.times[0] ?? 0) >= 950, 'asked again after the second it wished for')
})

mountTest('what was read before is read without any store or network', {}, async (t, lab) => {
  const content = randomBytes(3 * MIB)
  const { archive, store } = await packFiles(lab.dir, 'a', { file: content })
  const server = await BlockServer.open(t, store)
  const words = ['--store', server.url]
  const first = await lab.mount(archive, { words })
  t.equal((await lab.ok('sha256sum', [`${first.directory}/file`])).slice(0, 64), sha256(content))
  await lab.umount(first)
  await server.close()
  const second = await lab.mount(archive, { words })
  t.equal((await lab.ok('sha256sum', [`${second.directory}/file`])).slice(0, 64), sha256(content))
  t.strictSame(linesOf(second, 'error'), [])
})

mountTest('a cache that cannot be written still lets right bytes through', {}, async (t, lab) => {
  const content = randomBytes(6 * MIB)
  const { archive, store } = await packFiles(lab.dir, 'a', { file: content })
  const words = ['--store', `dir://${store}`]
  const full = lab.folder('full')
  await lab.ok('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'none', full])
  const mounted = await lab.mount(archive, { words, cache: full })
  t.equal((await lab.ok('sha256sum', [`${mounted.directory}/file`])).slice(0, 64), sha256(content), 'on a full disk')
  await lab.umount(mounted)

  const readOnly = lab.folder('read-only')
  await lab.ok('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'none', readOnly])
  const before = await lab.mount(archive, { words, cache: readOnly })
  t.equal((await lab.ok('ls', [before.directory])).trim(), 'file')
  await lab.umount(before)
  await lab.ok('mount', ['-o', 'remount,ro', readOnly])
  const after = await lab.mount(archive, { words, cache: readOnly })
  t.equal((await lab.ok('sha256sum', [`${after.directory}/file`])).slice(0, 64), sha256(content), 'on a read-only disk')
})

mountTest('a route of the archive that makes no sense is passed over, and alone gives EIO', {}, async (t, lab) => {
  const content = randomBytes(1000)
  const { archive, store } = await packFiles(lab.dir, 'a', { file: content })
  const database = new DatabaseSync(archive)
  database.exec("UPDATE route SET url = 'nonsense://example.org'")
  database.close()
  const alone = await lab.mount(archive)
  const done = await lab.run('cat', [`${alone.directory}/file`])
  t.match(done.stderr, 'Input/output error')
  t.match(linesOf(alone, 'error')[0] ?? '', /"file".*nonsense/)
  const again = new DatabaseSync(archive)
  again.exec(`INSERT INTO route VALUES (0, 255, 'dir://${store}')`)
  again.close()
  const second = await lab.mount(archive)
  t.equal((await lab.ok('sha256sum', [`${second.directory}/file`])).slice(0, 64), sha256(content))
})
