import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { only } from '../only.ts'
import { DIFFERENCES, DRIVER, NO_FUSE_NATIVE } from '../kernel/fuse-native/differences.ts'
import { MountView } from '../kernel/served-mount.ts'
import { filesystemSuite } from '../vfs/filesystem-suite.ts'
import { everything } from '../vfs/sample-archive.ts'
import { NO_FUSERMOUNT, openDeviceToAll, publicFolder, UserLab } from './as-user.ts'
import { BlockServer } from './block-server.ts'
import { FLISTFS, type Lab, mountTest, PROGRAMS, PROJECT, until } from './mounted.ts'
import { packFiles } from './pack-tree.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const skip = NO_FUSE_NATIVE

function isMounted(directory: string): boolean {
  return readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${directory} `)
}

async function listed(lab: Lab): Promise<{ directory: string; state: string; pid: number; driver?: string }[]> {
  const done = await lab.flistfs(['list', '--json'])
  return JSON.parse(done.stdout.toString()) as { directory: string; state: string; pid: number; driver?: string }[]
}

mountTest('a mount by fuse-native ends as others do: umount(8), umount, SIGTERM', { skip }, async (t, lab) => {
  const ways: [string, (pid: number, directory: string) => unknown][] = [
    ['umount(8)', (_pid, directory) => lab.ok('umount', [directory])],
    ['umount', (_pid, directory) => lab.umount({ directory })],
    ['SIGTERM', (pid) => process.kill(pid, 'SIGTERM')],
  ]
  for (const [way, end] of ways) {
    // As a setting: by the environment.
    const mounted = await lab.mount(SAMPLE, { env: { FLISTFS_DRIVER: 'fuse-native' } })
    t.match(only(await listed(lab)), { state: 'mounted', driver: 'fuse-native' })
    t.match(await lab.ok('cat', [join(mounted.directory, 'etc/debian_version')]), /^\d/)
    await end(mounted.pid, mounted.directory)
    await until(() => lab.servers().length === 0)
    t.notOk(isMounted(mounted.directory), way)
    t.strictSame(readdirSync(lab.runtime), [], 'and leaves no record')
  }
  const directory = lab.folder('foreground')
  const words = [FLISTFS, 'mount', SAMPLE, directory, '--foreground', '--json', ...DRIVER]
  const child = lab.start('sh', words)
  if (child.stdout === null) throw new Error('no pipe')
  await once(createInterface({ input: child.stdout }), 'line')
  const ended = once(child, 'exit')
  child.kill('SIGINT')
  t.strictSame(await ended, [0, null], 'SIGINT in the foreground: exit code 0')
})

mountTest('in use, it leaves with --lazy and is served to its last user', { skip }, async (t, lab) => {
  const { archive, store } = await packFiles(lab.dir, 'a', { one: Buffer.from('one'), two: randomBytes(600_000) })
  const mounted = await lab.mount(archive, { words: ['--store', `dir://${store}`, ...DRIVER] })
  const wait = `while [ ! -e ${lab.path('go')} ]; do sleep 0.05; done`
  const user = lab.start('sh', ['-c', `cd ${mounted.directory} && echo in && ${wait}; cksum < two`])
  if (user.stdout === null) throw new Error('no pipe')
  const lines = createInterface({ input: user.stdout })[Symbol.asyncIterator]()
  t.equal((await lines.next()).value, 'in')
  t.match((await lab.flistfs(['umount', mounted.directory])).stderr, /in use[^]*--lazy/)
  await lab.umount(mounted, '--lazy')
  t.notOk(isMounted(mounted.directory))
  t.match(only(await listed(lab)), { state: 'leaving' })
  await lab.ok('touch', [lab.path('go')])
  const wanted = await lab.ok('sh', ['-c', `cksum < ${lab.path('a.tree')}/two`])
  t.equal((await lines.next()).value, wanted.trim())
  await until(() => lab.servers().length === 0)
})

mountTest('readers of a store that hangs: a deadline, umount --force, SIGTERM twice', { skip }, async (t, lab) => {
  const { archive, store } = await packFiles(lab.dir, 'a', { one: randomBytes(600_000), two: Buffer.from('two') })
  const server = await BlockServer.open(t, store)
  const stores = ['--store', server.url, ...DRIVER]
  const first = await lab.mount(archive, { words: [...stores, '--timeout', '3s'] })
  // Three seconds may be too few for a machine that does other things.
  await until(async () => (await lab.run('cat', [join(first.directory, 'two')])).code === 0)
  server.behaviour = 'stall'
  t.match((await lab.run('cat', [join(first.directory, 'one')])).stderr, /Input\/output error/)
  t.equal(await lab.ok('cat', [join(first.directory, 'two')]), 'two', 'and the mount goes on')
  server.behaviour = 'serve'
  const one = readFileSync(join(lab.path('a.tree'), 'one'))
  await until(async () => (await lab.run('cat', [join(first.directory, 'one')])).stdout.equals(one))
  await lab.umount(first)

  server.behaviour = 'stall'
  const ends: [string, (mounted: { pid: number; directory: string }) => Promise<void>][] = [
    ['umount --force', async (mounted) => lab.umount(mounted, '--force')],
    [
      'SIGTERM twice',
      async ({ pid, directory }) => {
        process.kill(pid, 'SIGTERM')
        await until(() => !isMounted(directory))
        process.kill(pid, 'SIGTERM')
      },
    ],
  ]
  for (const [way, end] of ends) {
    const words = [...stores, '--on-error', 'wait']
    const mounted = await lab.mount(archive, { words, cache: lab.folder(`cache-${way.length}`) })
    const before = server.requests
    const reader = lab.start('cat', [join(mounted.directory, 'one')])
    const gone = once(reader, 'exit')
    await until(() => server.requests > before)
    await end(mounted)
    t.strictSame(await gone, [1, null], `${way}: the reader got an error`)
    t.notOk(isMounted(mounted.directory), way)
    await until(() => lab.servers().length === 0)
  }
  // The record of the one that was cut off.
  t.strictSame(await listed(lab), [])
})

mountTest('it ends with its server, cannot be replaced, and is cleared away', { skip }, async (t, lab) => {
  const mounted = await lab.mount(SAMPLE, { words: DRIVER })
  const refused = await lab.flistfs(['upgrade', mounted.directory])
  t.equal(refused.code, 1)
  t.match(refused.stderr, /fuse-native holds its device[^]*mount it again/)
  t.equal((await lab.flistfs(['upgrade', '--all', '--json'])).stdout.toString().trim(), '[]', '--all leaves it out')
  const traced = await lab.flistfs(['trace', mounted.directory, lab.path('trace')])
  t.equal(traced.code, 2)
  t.match(traced.stderr, /libfuse alone sees its requests/)
  process.kill(mounted.pid, 'SIGKILL')
  await until(() => lab.servers().length === 0)
  t.match(only(await listed(lab)), { state: 'dead' })
  const again = await lab.mount(SAMPLE, { words: DRIVER, directory: mounted.directory })
  t.match(await lab.ok('ls', [again.directory]), 'etc')
  await lab.umount(again)
})

mountTest('both drivers share the cache', { skip }, async (t, lab) => {
  const { archive, store } = await packFiles(lab.dir, 'a', { one: randomBytes(1_200_000), two: randomBytes(5_000) })
  const server = await BlockServer.open(t, store)
  const [one, two] = ['one', 'two'].map((name) => readFileSync(join(lab.path('a.tree'), name)))
  for (const [driver, expected] of [
    ['fuse-native', 4],
    ['native', 4],
    ['fuse-native', 4],
  ] as const) {
    const mounted = await lab.mount(archive, { words: ['--store', server.url, '--driver', driver] })
    for (const [name, content] of [['one', one] as const, ['two', two] as const]) {
      const { stdout } = await lab.run('cat', [join(mounted.directory, name)])
      t.ok(content !== undefined && stdout.equals(content), `${name} by ${driver}`)
    }
    t.equal(server.requests, expected, 'each block was asked for once')
    await lab.umount(mounted)
  }
})

mountTest(
  'odd names of archive and folder are nothing to a shell, nor to lists of options',
  { skip },
  async (t, lab) => {
    const odd = String.raw`odd, "$(touch evil)" na\me`
    const directory = lab.folder(`at ${odd}`)
    const archive = lab.path(`${odd}.fl`)
    cpSync(SAMPLE, archive)
    await lab.mount(archive, {
      words: [...DRIVER, '--store', `dir://${join(PROJECT, 'fixtures/sample/store')}`],
      directory,
    })
    const found = JSON.parse(await lab.ok('findmnt', ['--json', '--output', 'TARGET,SOURCE,OPTIONS', directory])) as {
      filesystems: { target: string; source: string; options: string }[]
    }
    t.match(only(found.filesystems), { target: directory, source: archive, options: /^ro,nosuid,nodev/ })
    await lab.umount({ directory })
    t.notOk(isMounted(directory))
    t.notOk(existsSync(lab.path('evil')))
  },
)

mountTest('what it cannot do is refused before anything is fetched', { skip }, async (t, lab) => {
  for (const words of [['--passthrough'], ['--rw'], ['--upper', lab.path('upper')], ['--trace', lab.path('trace')]]) {
    const done = await lab.tryMount(lab.path('not-there.fl'), { words: [...words, ...DRIVER] })
    t.equal(done.code, 2, words[0] ?? '')
    t.match(done.stderr, /with --driver fuse-native/)
  }
  const unknown = await lab.tryMount(SAMPLE, { words: ['--driver', 'fuse3'] })
  t.equal(unknown.code, 2)
  t.match(unknown.stderr, /native, fuse-native/)
  const mounted = await lab.mount(SAMPLE)
  const stacked = await lab.tryMount(SAMPLE, { words: DRIVER, directory: mounted.directory })
  t.equal(stacked.code, 1)
  t.match(stacked.stderr, /FLIST_MOUNT_FAILED.*another file system is mounted there/)
  await lab.umount(mounted)
})

mountTest('without libfuse 2, or without the package, it says what to install', {}, async (t, lab) => {
  const words = ['mount', '--json', '--driver', 'fuse-native', SAMPLE, lab.folder('there')]
  const library = libraryPath()
  // Where it is, an empty file takes its place in a tree of mounts of our own.
  const hide = library === undefined ? '' : `mount --bind /dev/null "${library}" && `
  const without = await lab.run('unshare', ['-m', 'sh', '-c', `${hide}exec sh "$0" "$@"`, FLISTFS, ...words])
  t.equal(without.code, 1)
  const { error } = JSON.parse(without.stderr) as { error: Record<string, string> }
  t.equal(error['code'], 'FLIST_MOUNT_FAILED')
  // The package is built for one kind of machine alone.
  if (process.arch === 'x64' && existsSync(join(PROJECT, 'node_modules/fuse-native'))) {
    t.match(error['message'], /^Cannot mount by fuse-native: libfuse 2 cannot be loaded \(.*libfuse\.so\.2/)
    t.match(error['hint'], /^Install it \(Debian: libfuse2, .* leave --driver out/)
  }

  // The program with all packages but this one, as npm leaves it where the package's own script failed.
  const copy = lab.folder('copy')
  for (const name of ['bin', 'dist', 'lib', 'package.json']) {
    const from = join(dirname(PROGRAMS), name)
    if (existsSync(from)) cpSync(from, join(copy, name), { recursive: true })
  }
  mkdirSync(join(copy, 'node_modules'))
  for (const name of readdirSync(join(PROJECT, 'node_modules')).filter((name) => name !== 'fuse-native'))
    symlinkSync(join(PROJECT, 'node_modules', name), join(copy, 'node_modules', name))
  const program = join(copy, 'bin/flistfs')
  const absent = await lab.run('sh', [program, ...words])
  t.equal(absent.code, 1)
  t.match(absent.stderr, /the package is not installed.*npm install fuse-native@/)
  const own = await lab.ok('sh', [program, 'mount', '--json', SAMPLE, lab.path('there')])
  t.match(own, /"directory"/, 'and our own driver needs neither')
  await lab.umount({ directory: lab.path('there') })
  rmSync(copy, { recursive: true })
})

/** The file that the loader finds as libfuse.so.2. */
function libraryPath(): string | undefined {
  const line = /libfuse\.so\.2 .*=> (\S+)/.exec(
    execFileSync('sh', ['-c', 'PATH=$PATH:/sbin ldconfig -p || true']).toString(),
  )
  return line?.[1] !== undefined && existsSync(line[1]) ? line[1] : undefined
}

t.test('a user mounts by fuse-native', { skip: skip || NO_FUSERMOUNT, timeout: 600_000 }, async (t) => {
  openDeviceToAll(t)
  const lab = new UserLab(t)
  const sample = await everything('/bin/cat').write(publicFolder(t))
  const mount = await lab.serve(t, sample.archivePath, DRIVER)
  filesystemSuite(t, sample.entries, async () => new MountView(mount), {
    ...DIFFERENCES,
    unreadable: { 'trusted.hidden': 'the kernel shows `trusted.` attributes to root alone' },
  })
  await t.test('and unmounts', async (t) => {
    const refused = await lab.flistfs('mount', '--suid', ...DRIVER, sample.archivePath, lab.folder('other'))
    t.equal(refused.code, 1)
    t.match(refused.stderr, /with --suid: only root may/)
    const done = await lab.flistfs('umount', lab.directory)
    t.equal(done.code, 0, done.stderr)
    t.strictSame(await mount.gone, [0, null])
  })
})
