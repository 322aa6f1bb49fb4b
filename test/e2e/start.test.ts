import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { bundleProgram } from '../../scripts/bundle.ts'
import { NO_MOUNT, PROJECT, until } from './mounted.ts'

const DEADLINE_MS = 120_000

/** Notes what is loaded when the program says its first word: once it is mounted, before anybody looks at the tree. */
const HOOK = `
const fs = require('node:fs')
const write = fs.writeSync
fs.writeSync = (fd, ...rest) => {
  if (fd !== 1) return write(fd, ...rest)
  const loaded = { own: process.moduleLoadList, files: Object.keys(require.cache) }
  fs.writeFileSync(process.env.LOADED + '.tmp', JSON.stringify(loaded))
  fs.renameSync(process.env.LOADED + '.tmp', process.env.LOADED)
  fs.writeSync = write
  return write(fd, ...rest)
}
`

interface Loaded {
  /** Modules of Node's own: `NativeModule net`, `Internal Binding uv`. */
  readonly own: readonly string[]
  readonly files: readonly string[]
}

/** A start of Node with nothing to do has these loaded too, or they cost it nothing to speak of. */
const ALLOWED =
  /^(?:NativeModule (?:process|vm|internal\/(?:abort_controller|fs\/dir))|Internal Binding (?:signal_wrap|fs_dir))$/

t.test('a mount loads one file, and of Node hardly more than Node itself', { skip: NO_MOUNT }, async (t) => {
  const dir = t.testdir({ 'hook.cjs': HOOK, at: {}, run: {} })
  symlinkSync(join(PROJECT, 'node_modules'), join(dir, 'node_modules'))
  await bundleProgram(PROJECT, join(dir, 'dist'))
  const env = (name: string): NodeJS.ProcessEnv => ({
    PATH: process.env['PATH'],
    HOME: dir,
    LOADED: join(dir, name),
    FLISTFS_RUNTIME: join(dir, 'run'),
    FLISTFS_CACHE: join(dir, 'cache'),
    FLISTFS_CONFIG: '',
    NODE_COMPILE_CACHE: join(dir, 'compiled'),
  })
  const loaded = (name: string): Loaded => JSON.parse(readFileSync(join(dir, name), 'utf8')) as Loaded
  const hook = ['--require', join(dir, 'hook.cjs')]

  // tap gives all that is spawned modules of its own.
  const bareNode = ['-u', 'NODE_OPTIONS', process.execPath, ...hook]
  spawnSync('env', [...bareNode, '-e', 'require("node:fs").writeSync(1, "")'], { env: env('bare') })
  const archive = join(PROJECT, 'fixtures/sample/debian.fl')
  const words = ['mount', '--foreground', archive, join(dir, 'at')]
  const mount = async (name: string, mounted: () => Promise<void> = () => Promise.resolve()): Promise<void> => {
    const server = spawn('env', [...bareNode, join(dir, 'dist/flistfs.cjs'), ...words], { env: env(name) })
    t.teardown(() => server.kill('SIGKILL'))
    const ended = once(server, 'exit', { signal: AbortSignal.timeout(DEADLINE_MS) })
    await until(() => existsSync(join(dir, name)) || server.exitCode !== null)
    if (server.exitCode === null) await mounted()
    server.kill('SIGINT')
    t.strictSame(await ended, [0, null])
  }
  const kept = (): string => {
    const name = readdirSync(join(dir, 'compiled')).find((one) => /^flistfs-mount-[^.]*\.[^.]*\.\d+-\w+-\d+$/.test(one))
    return name === undefined ? '' : join(dir, 'compiled', name)
  }
  // The first makes the index, which is work of another kind, and keeps what it compiled.
  await mount('first', () => until(() => kept() !== ''))
  const { ino } = statSync(kept())
  await mount('second')
  const bare = new Set(loaded('bare').own)
  t.ok(bare.size > 50)
  const check = (name: string): void => {
    const { own, files } = loaded(name)
    // Not the program: it is no module then.
    t.strictSame(files, [join(dir, 'hook.cjs'), join(dir, 'dist/flistfs.cjs')], name)
    const more = own.filter((module) => !bare.has(module) && !ALLOWED.test(module))
    t.strictSame(more, [], `${name}: see docs/decisions/165-start.md`)
  }
  check('second')

  // In the background, where mounts share a server.
  for (const name of ['flistfs', 'supervise', 'node']) cpSync(join(PROJECT, 'bin', name), join(dir, 'bin', name))
  const flistfs = (more: readonly string[], options: string): number | null => {
    const line = ['-u', 'NODE_OPTIONS', `NODE_OPTIONS=${options}`, 'sh', join(dir, 'bin/flistfs'), ...more]
    return spawnSync('env', line, { env: env('shared'), timeout: DEADLINE_MS, stdio: ['ignore', 'ignore', 'inherit'] })
      .status
  }
  t.teardown(() => flistfs(['umount', join(dir, 'at')], ''))
  t.equal(flistfs(['mount', '--json', archive, join(dir, 'at')], hook.join(' ')), 0)
  t.match(
    readdirSync(join(dir, 'run')).filter((name) => name.endsWith('.server')),
    { length: 1 },
  )
  t.equal(flistfs(['umount', join(dir, 'at')], ''), 0)
  check('shared')

  t.equal(statSync(kept()).ino, ino, 'what is kept was taken, and not made again')
  const good = readFileSync(kept())
  const middle = good.length >> 1
  const damaged = {
    'one byte': Buffer.concat([good.subarray(0, middle - 1000), Buffer.from([1, 2, 3]), good.subarray(middle - 997)]),
    'cut off': good.subarray(0, middle),
    'lost on the disk': Buffer.concat([good.subarray(0, middle), Buffer.alloc(good.length - middle)]),
    'another program': Buffer.concat([Buffer.from('program-0'), good.subarray(9)]),
    empty: Buffer.alloc(0),
  }
  for (const [name, bytes] of Object.entries(damaged)) {
    writeFileSync(kept(), bytes)
    await mount(name)
  }
  await mount('mended', () => until(() => statSync(kept()).ino !== ino && readFileSync(kept()).length > middle))
})

t.test('a Node.js that is too old is named', async (t) => {
  const dir = t.testdir({
    'old.cjs': `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '24.14.9' } })`,
  })
  await bundleProgram(PROJECT, join(dir, 'dist'))
  const words = [
    '-u',
    'NODE_OPTIONS',
    process.execPath,
    '--require',
    join(dir, 'old.cjs'),
    join(dir, 'dist/flistfs.cjs'),
  ]
  const list = (...more: string[]) =>
    spawnSync('env', [...words, 'list', ...more], { encoding: 'utf8', timeout: DEADLINE_MS })
  const done = list()
  t.equal(done.status, 1)
  t.match(done.stderr, /^flistfs: Cannot run under Node\.js 24\.14\.9: 24\.15 is wanted\n {2}hint: .*FLISTFS_NODE/)
  t.match(JSON.parse(list('--json').stderr), { error: { code: 'FLIST_SYSTEM', message: /24\.14\.9/, exit: 1 } })
})

t.test('a mount by URL says nothing where it goes well', { skip: NO_MOUNT }, async (t) => {
  const dir = t.testdir({ at: {} })
  symlinkSync(join(PROJECT, 'node_modules'), join(dir, 'node_modules'))
  await bundleProgram(PROJECT, join(dir, 'dist'))
  const sample = join(PROJECT, 'fixtures/sample')
  const server = createServer((request, response) => {
    if (request.url === '/debian.fl') response.end(readFileSync(join(sample, 'debian.fl')))
    else response.writeHead(404).end()
  }).listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening', { signal: AbortSignal.timeout(DEADLINE_MS) })
  const { port } = server.address() as AddressInfo
  const words = ['mount', '--foreground', '--log-level', 'error', '--store', `dir:${sample}/store`]
  const program = [process.execPath, join(dir, 'dist/flistfs.cjs'), ...words]
  const mount = spawn(
    'env',
    ['-u', 'NODE_OPTIONS', ...program, `http://127.0.0.1:${port}/debian.fl`, join(dir, 'at')],
    {
      env: {
        PATH: process.env['PATH'],
        HOME: dir,
        FLISTFS_RUNTIME: join(dir, 'run'),
        FLISTFS_CACHE: join(dir, 'cache'),
        FLISTFS_CONFIG: '',
        NODE_COMPILE_CACHE: join(dir, 'compiled'),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  t.teardown(() => mount.kill('SIGKILL'))
  const ended = once(mount, 'exit', { signal: AbortSignal.timeout(DEADLINE_MS) })
  let said = ''
  mount.stderr.on('data', (bytes) => (said += String(bytes)))
  mount.stdout.once('data', () => mount.kill('SIGINT'))
  t.strictSame(await ended, [0, null])
  t.equal(said, '')
})
