import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Test } from 'tap'
import { BlockServer } from './block-server.ts'
import { readManifest, TYPE } from './expected.ts'
import { type Lab, lacks, mountTest, PROGRAMS, PROJECT, until } from './mounted.ts'
import { ZeroOsDaemon } from './zero-os-daemon.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample')
const V1 = join(PROJECT, 'fixtures/golden/v1')
const SKIP = lacks('findmnt', 'mountpoint', 'umount')

/** The links that `flistfs setup --zero-os` makes. */
function sbin(lab: Lab): string {
  for (const name of ['g8ufs', 'rfs']) symlinkSync(join(PROGRAMS, name), join(lab.folder('sbin'), name))
  return lab.path('sbin')
}

/** A hub with the archives of a folder, and the MD5 of each. */
async function hub(t: Test, dir: string): Promise<string> {
  const server = createServer((request, response) => {
    const name = basename(request.url ?? '')
    const path = join(dir, name.replace(/\.md5$/, ''))
    if (!existsSync(path)) return void response.writeHead(404).end()
    const bytes = readFileSync(path)
    response.end(name.endsWith('.md5') ? createHash('md5').update(bytes).digest('hex') : bytes)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.teardown(() => void server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A copy of an archive of the older format that names no store: what --storage-url is for. */
async function forgetBackend(lab: Lab, name: string, dir: string): Promise<void> {
  const work = lab.folder('forget')
  await lab.ok('tar', ['-xzf', join(V1, name), '-C', work])
  const database = new DatabaseSync(join(work, 'flistdb.sqlite3'))
  database.exec("DELETE FROM metadata WHERE key = 'backend'")
  database.close()
  await lab.ok('tar', ['-czf', join(dir, name), '-C', work, 'flistdb.sqlite3'])
}

/** Archives on the hub: the sample, whose blocks a web server has, and one of the older format without a store of its own. */
async function begin(t: Test, lab: Lab) {
  const archives = lab.folder('archives')
  const blocks = await BlockServer.open(t, join(SAMPLE, 'store'))
  copyFileSync(join(SAMPLE, 'debian.fl'), join(archives, 'debian.fl'))
  const database = new DatabaseSync(join(archives, 'debian.fl'))
  database.prepare('UPDATE route SET url = ?').run(blocks.url)
  database.close()
  await forgetBackend(lab, 'hand.flist', archives)
  return { url: await hub(t, archives), daemon: new ZeroOsDaemon(lab, lab.folder('modules/flistd'), sbin(lab)) }
}

const storage = `dir://${V1}/blocks`

/** What a mounter's process and its folders leave: nothing but archives and cache. */
async function ended(t: Test, lab: Lab, daemon: ZeroOsDaemon): Promise<void> {
  await until(() => lab.servers().length === 0)
  t.strictSame(readdirSync(join(daemon.root, 'ro')), [], 'the layers are gone')
  t.strictSame(readdirSync(join(daemon.root, 'mountpoint')), [], 'and the mount points')
}

mountTest('Zero-OS mounts an fl archive, read-only and writable, with one process', { skip: SKIP }, async (t, lab) => {
  const { url, daemon } = await begin(t, lab)
  const md5 = await (await fetch(`${url}/debian.fl.md5`)).text()
  const first = await daemon.mount('6629-1-vm1', `${url}/debian.fl`, { storage })
  t.match(await lab.ok('cat', [join(first, 'etc/debian_version')]), /^12\.\d+\n$/)
  t.match(await lab.run('touch', [join(first, 'x')]), { code: 1, stderr: /Read-only file system/ })
  t.equal(await daemon.mount('6629-1-vm1', `${url}/debian.fl`, { storage }), first, 'mounting again is no work')

  const volume = lab.folder('volume')
  const second = await daemon.mount('6629-2-vm2', `${url}/debian.fl`, { storage, volume })
  t.equal(daemon.ran.length, 1, 'the same content shares one process')
  t.match(daemon.ran[0]?.done, { code: 0, stderr: '' })
  t.match(await lab.ok('chroot', [second, '/bin/bash', '-c', 'echo $((6 * 7)) > /root/new; cat /root/new']), '42')
  t.equal(readFileSync(join(volume, 'rw/root/new'), 'utf8'), '42\n')
  t.match(await lab.ok('chroot', [second, '/bin/rm', '-r', '/etc/debian_version']), '')
  t.match(await lab.ok('cat', [join(first, 'etc/debian_version')]), /^12/, 'the other workload sees nothing of it')

  t.equal(await daemon.hashFromRootPath('6629-1-vm1'), md5, 'the hash, through the bind mount')
  t.equal(await daemon.hashFromRootPath('6629-2-vm2'), md5, 'the hash, through the overlay')
  t.equal(JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString()).length, 1, 'flistfs list knows it')
  t.match(await lab.stats({ directory: join(daemon.root, 'ro', md5) }), { stores: [{ failures: 0 }] })

  await daemon.unmount('6629-1-vm1')
  t.match(await lab.ok('ls', [second]), 'usr', 'the layer stays while an overlay uses it')
  await daemon.unmount('6629-2-vm2')
  await ended(t, lab, daemon)
})

mountTest('Zero-OS mounts both formats side by side, with one cache', { skip: SKIP }, async (t, lab) => {
  const { url, daemon } = await begin(t, lab)
  const old = await daemon.mount('traefik:1', `${url}/hand.flist`, { storage })
  await daemon.mount('zdb', `${url}/debian.fl`, { storage, volume: lab.folder('volume') })
  t.match(
    daemon.ran.map(({ words }) => words.slice(0, 2)),
    [
      ['g8ufs', '--storage-url'],
      ['rfs', 'mount'],
    ],
  )
  for (const { ms, words } of daemon.ran) t.comment(`${words[0]} came back after ${Math.round(ms)} ms`)

  let compared = 0
  for (const facts of readManifest(join(V1, 'hand.manifest.json')).values()) {
    const path = Buffer.from(facts.path, 'hex').toString('utf8')
    if (facts.type !== TYPE.file || facts.size === 0 || !/^(?:chunk|dup|hard)/.test(path)) continue
    const said = await lab.ok('sha256sum', [join(old, path)])
    t.equal(said.slice(0, 64), facts.sha256, path)
    compared += 1
  }
  t.ok(compared > 3, 'files were compared')
  t.equal(await daemon.hashFromRootPath('traefik:1'), await (await fetch(`${url}/hand.flist.md5`)).text())
  t.strictSame(readdirSync(join(daemon.root, 'cache')), ['v1'], 'one cache')
  for (const name of readdirSync(join(daemon.root, 'log'))) {
    t.match(readFileSync(join(daemon.root, 'log', name), 'utf8'), / info mounted /, 'the log is written')
  }
  await daemon.unmount('traefik:1')
  await daemon.unmount('zdb')
  await ended(t, lab, daemon)
})

mountTest('Zero-OS finds the process of a mount again after its server was killed', { skip: SKIP }, async (t, lab) => {
  const { url, daemon } = await begin(t, lab)
  const place = await daemon.mount('vm', `${url}/debian.fl`, { storage })
  const before = await daemon.hashFromRootPath('vm')
  const [listed] = JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString()) as { pid: number }[]
  process.kill(listed?.pid ?? Number.NaN, 'SIGKILL')
  t.match(await lab.ok('cat', [join(place, 'etc/debian_version')]), /^12/, 'the mount lives on')
  t.equal(await daemon.hashFromRootPath('vm'), before)
  await daemon.unmount('vm')
  await ended(t, lab, daemon)
})

mountTest('a target that is in use is refused, and a wrong call is', { skip: SKIP }, async (t, lab) => {
  const { url, daemon } = await begin(t, lab)
  const bin = lab.path('sbin')
  await daemon.mount('vm', `${url}/debian.fl`, { storage })
  const words = daemon.ran[0]?.words ?? []
  t.match(await lab.run(join(bin, 'rfs'), words.slice(1)), { code: 1, stderr: /something is mounted there/ })
  for (const [name, ...wrong] of [
    ['g8ufs', lab.folder('x')],
    ['g8ufs', '--meta', 'a', '--meta', 'b', lab.folder('x')],
    ['g8ufs', '--meta', join(SAMPLE, 'debian.fl')],
    ['g8ufs', '--bogus', lab.folder('x')],
    ['rfs', 'pack', '--meta', 'a', lab.folder('x')],
    ['rfs', 'mount', '--storage-url', 'x', '--meta', 'a', lab.folder('x')],
  ] as const) {
    t.match(await lab.run(join(bin, name), wrong), { code: 2, stderr: /: Cannot / }, `${name} ${wrong.join(' ')}`)
  }
  t.match(await lab.run(join(bin, 'g8ufs'), ['--meta', lab.path('none'), lab.folder('x')]), { code: 1 })
  t.match(await lab.run(join(bin, 'rfs'), []), { code: 2, stderr: /hint: rfs .*mount --meta FILE/ })
  for (const help of [['--help'], ['-h'], ['mount', '--help'], ['--debug', 'mount', '-h']]) {
    const { code, stdout } = await lab.run(join(bin, 'rfs'), help)
    t.match([code, stdout.toString()], [0, /^rfs .*mount --meta FILE (?!.*--storage-url)/], help.join(' '))
  }
  await daemon.unmount('vm')
  await ended(t, lab, daemon)
})

mountTest('an archive that names its store is not asked of --storage-url', { skip: SKIP }, async (t, lab) => {
  const bin = sbin(lab)
  const asked = await BlockServer.open(t, join(SAMPLE, 'store'))
  // As the flag package of Go takes them, in which 0-fs is written.
  const words = [
    '--ro=true',
    '-cache',
    lab.cache,
    `-storage-url=${asked.url}`,
    '-meta',
    join(V1, 'metadata.flist'),
    '-d',
  ]
  const env = { FLISTFS_RW: '1', FLISTFS_UPPER: lab.path('changes') }
  t.match(await lab.run(join(bin, 'g8ufs'), [...words, lab.folder('m')], { env }), { code: 0, stderr: '' })
  t.match(
    await lab.ok('findmnt', ['-n', '-o', 'FSTYPE,OPTIONS', lab.path('m')]),
    /^fuse\.g8ufs +ro,/,
    'whatever settings say',
  )
  const stats = await lab.stats({ directory: lab.path('m') })
  t.notOk(
    stats.stores.some(({ name }) => name.includes(String(asked.port))),
    'the archive has a backend of its own',
  )
  await lab.ok('umount', [lab.path('m')])
  await until(() => lab.servers().length === 0)
})

mountTest('bootstrap copies an archive from a mount in the foreground', { skip: SKIP }, async (t, lab) => {
  const bin = sbin(lab)
  const root = lab.folder('root')
  await forgetBackend(lab, 'hand.flist', lab.dir)
  const words = ['--ro', '--cache', lab.folder('backend'), '--meta', lab.path('hand.flist'), '--storage-url', storage]
  const pidFile = lab.path('pid')
  const server = lab.start(join(bin, 'g8ufs'), [...words, '--pid', pidFile, root])
  await until(async () => (await lab.run('mountpoint', ['-q', root])).code === 0)
  const source = await lab.ok('findmnt', ['-n', '-o', 'SOURCE', root])
  t.equal(source.trim(), String(server.pid), 'the process that was started is the one the mount names')
  t.equal(readFileSync(pidFile, 'utf8').trim(), String(server.pid), 'and --pid writes it')
  await lab.ok('cp', ['-r', join(root, 'modes'), lab.folder('live')])
  t.ok(readdirSync(lab.path('live/modes')).length > 3)
  const left = new Promise((done) => server.once('exit', done))
  await lab.ok('umount', [root])
  t.equal(await left, 0, 'it ends with its mount')
})

mountTest('without --ro a backend makes the mount writable, and --reset forgets', { skip: SKIP }, async (t, lab) => {
  const bin = sbin(lab)
  const root = lab.folder('root')
  const words = [
    '--cache',
    lab.cache,
    '--meta',
    join(SAMPLE, 'debian.fl'),
    `--backend=${lab.folder('backend')}`,
    '-dl',
    lab.path('log'),
    root,
  ]
  const run = async (...more: string[]): Promise<boolean> => {
    t.match(await lab.run(join(bin, 'g8ufs'), [...more, ...words]), { code: 0, stderr: '' })
    const kept = existsSync(join(lab.path('backend'), 'upper/kept'))
    await lab.ok('touch', [join(root, 'kept')])
    await lab.ok('umount', [root])
    await until(() => lab.servers().length === 0)
    return kept
  }
  t.notOk(await run())
  t.ok(await run(), 'changes are kept')
  t.notOk(await run('--reset'))
  t.match(readFileSync(lab.path('log'), 'utf8'), / info mounted /, 'flags may be joined')
  rmSync(lab.path('backend'), { recursive: true })
})
