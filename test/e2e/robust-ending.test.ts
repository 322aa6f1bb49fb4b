import { randomBytes } from 'node:crypto'
import { cpSync, existsSync, readdirSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { only } from '../only.ts'
import { BlockServer } from './block-server.ts'
import { FLISTFS, type Lab, mountTest, PROJECT, until } from './mounted.ts'
import { packFiles, packTree } from './pack-tree.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')

async function isMounted(lab: Lab, directory: string): Promise<boolean> {
  return (await lab.run('findmnt', ['--mountpoint', directory])).code === 0
}

async function listed(lab: Lab): Promise<{ directory: string; state: string; pid: number }[]> {
  return JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString()) as {
    directory: string
    state: string
    pid: number
  }[]
}

mountTest('plain umount(8) ends the server and takes its record away', {}, async (t, lab) => {
  const mounted = await lab.mount(SAMPLE)
  await lab.ok('umount', [mounted.directory])
  await until(() => lab.servers().length === 0)
  t.strictSame(readdirSync(lab.runtime), [])
})

mountTest('SIGTERM and SIGINT unmount, in the background and in the foreground', {}, async (t, lab) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const mounted = await lab.mount(SAMPLE)
    process.kill(mounted.pid, signal)
    await until(() => lab.servers().length === 0)
    t.notOk(await isMounted(lab, mounted.directory), `${signal} in the background`)

    const directory = lab.folder(signal)
    const child = lab.start('sh', [FLISTFS, 'mount', SAMPLE, directory, '--foreground', '--json'])
    if (child.stdout === null) throw new Error('no pipe')
    await once(createInterface({ input: child.stdout }), 'line')
    t.ok(await isMounted(lab, directory))
    const ended = once(child, 'exit')
    child.kill(signal)
    t.strictSame(await ended, [0, null], `${signal} in the foreground: exit code 0`)
    t.notOk(await isMounted(lab, directory))
  }
})

mountTest(
  'a mount in use is not unmounted, but leaves with --lazy and is served to its last user',
  {},
  async (t, lab) => {
    const { archive, store } = await packFiles(lab.dir, 'a', { one: Buffer.from('one'), two: randomBytes(600_000) })
    const mounted = await lab.mount(archive, { words: ['--store', `dir://${store}`] })
    // Reads two only after it is told to, by its own folder's sight of `go`.
    const user = lab.start('sh', [
      '-c',
      `cd ${mounted.directory} && echo in && while [ ! -e ${lab.path('go')} ]; do sleep 0.05; done; cksum < two`,
    ])
    if (user.stdout === null) throw new Error('no pipe')
    const lines = createInterface({ input: user.stdout })[Symbol.asyncIterator]()
    t.equal((await lines.next()).value, 'in')

    const busy = await lab.flistfs(['umount', mounted.directory])
    t.equal(busy.code, 1)
    t.match(busy.stderr, /in use[^]*--lazy/)
    t.ok(await isMounted(lab, mounted.directory), 'still there')

    await lab.umount(mounted, '--lazy')
    t.notOk(await isMounted(lab, mounted.directory))
    t.match(only(await listed(lab)), { state: 'leaving' })
    await lab.ok('touch', [lab.path('go')])
    t.equal(
      (await lines.next()).value,
      (await lab.ok('sh', ['-c', `cksum < ${lab.path('a.tree')}/two`])).trim(),
      'served to the end',
    )
    await until(() => lab.servers().length === 0)
    t.strictSame(await listed(lab), [])
  },
)

mountTest('umount --force ends a mount whose readers hang', {}, async (t, lab) => {
  const { archive, store } = await packFiles(lab.dir, 'a', { one: randomBytes(600_000) })
  const server = await BlockServer.open(t, store)
  server.behaviour = 'stall'
  const mounted = await lab.mount(archive, { words: ['--store', server.url, '--timeout', '10m'] })
  const reader = lab.start('cat', [join(mounted.directory, 'one')])
  const ended = once(reader, 'exit')
  await until(() => server.requests > 0)
  await lab.umount(mounted, '--force')
  t.strictSame(await ended, [1, null], 'the reader got an error')
  t.notOk(await isMounted(lab, mounted.directory))
  await until(() => lab.servers().length === 0)
})

mountTest('umount ends a mount whose folder of blocks answers no more', {}, async (t, lab) => {
  const { archive, store } = await packFiles(lab.dir, 'a', { one: randomBytes(600_000) })
  const shelf = lab.folder('shelf')
  cpSync(store, join(shelf, 'store'), { recursive: true })
  await packTree(shelf, lab.path('shelf.fl'), lab.folder('shelf.store'), new Map())
  // As a network folder whose server is away: who looks waits in the kernel.
  const below = await lab.mount(lab.path('shelf.fl'), { words: ['--own-process'] })
  const words = ['--store', `dir://${below.directory}/store`, '--timeout', '3s']
  const above = await lab.mount(archive, { words, cache: lab.folder('cache-2') })
  process.kill(below.pid, 'SIGSTOP')
  try {
    t.not((await lab.run('cat', [join(above.directory, 'one')])).code, 0)
    await lab.umount(above)
    t.notOk(lab.servers().includes(above.pid))
  } finally {
    process.kill(below.pid, 'SIGCONT')
  }
  await lab.umount(below)
})

mountTest('SIGTERM ends a server whose readers hang, asked twice at the most', {}, async (t, lab) => {
  const { archive, store } = await packFiles(lab.dir, 'a', { one: randomBytes(600_000) })
  const server = await BlockServer.open(t, store)
  server.behaviour = 'stall'
  const mounted = await lab.mount(archive, { words: ['--store', server.url, '--timeout', '10m'] })
  const reader = lab.start('cat', [join(mounted.directory, 'one')])
  await until(() => server.requests > 0)
  process.kill(mounted.pid, 'SIGTERM')
  await until(async () => !(await isMounted(lab, mounted.directory)))
  t.equal(lab.servers().includes(mounted.pid), true, 'its reader is waited for')
  process.kill(mounted.pid, 'SIGTERM')
  await until(() => !lab.servers().includes(mounted.pid))
  await until(() => reader.exitCode !== null || reader.signalCode !== null)
  t.not(reader.exitCode, 0)
  await listed(lab)
})

mountTest('a mount whose supervisor and server were killed is dead, and umount takes it away', {}, async (t, lab) => {
  for (const words of [[], ['--force'], ['--lazy']]) {
    const mounted = await lab.mount(SAMPLE)
    await lab.killAll()
    // ECONNABORTED where a request was on its way.
    t.match((await lab.run('ls', [mounted.directory])).stderr, /not connected|connection abort/)
    t.match(only(await listed(lab)), { state: 'dead' })
    await lab.umount(mounted, ...words)
    t.notOk(await isMounted(lab, mounted.directory), `umount ${words.join(' ')}`)
    t.strictSame(await listed(lab), [])
  }
})

mountTest('mount clears a dead mount of ours away', {}, async (t, lab) => {
  const dead = await lab.mount(SAMPLE)
  await lab.killAll()
  const again = await lab.mount(SAMPLE, { directory: dead.directory })
  t.match(await lab.ok('ls', [again.directory]), 'etc')
  t.equal((await listed(lab)).length, 1)
  await lab.umount(again)
})

mountTest(
  'a writable mount whose supervisor and server were killed leaves an overlay, which umount takes away',
  {},
  async (t, lab) => {
    const mounted = await lab.mount(SAMPLE, { words: ['--rw'] })
    await lab.killAll()
    t.match(only(await listed(lab)), { state: 'dead' })
    await lab.umount(mounted)
    t.notOk(await isMounted(lab, mounted.directory))
    t.strictSame(await listed(lab), [])

    const upper = ['--upper', lab.path('changes')]
    const kept = await lab.mount(SAMPLE, { words: upper })
    await lab.killAll()
    t.match(
      (await lab.tryMount(SAMPLE, { words: upper })).stderr,
      /in use by the mount on/,
      'the dead overlay still holds its folder',
    )
    await lab.umount(kept)
    await lab.umount(await lab.mount(SAMPLE, { words: upper }))
    const left = join(lab.cache, 'v1', 'rw')
    t.strictSame(existsSync(left) ? readdirSync(left) : [], [], 'what it would have thrown away is gone too')
  },
)

mountTest('umount of what is not mounted, or not ours, is refused', {}, async (t, lab) => {
  const none = await lab.flistfs(['umount', lab.folder('none')])
  t.equal(none.code, 1)
  t.match(none.stderr, /nothing is mounted there[^]*flistfs list/)
  const foreign = lab.folder('foreign')
  await lab.ok('mount', ['-t', 'tmpfs', 'none', foreign])
  const refused = await lab.flistfs(['umount', foreign])
  t.equal(refused.code, 1)
  t.match(refused.stderr, /the tmpfs mounted there is not ours/)
  t.ok(await isMounted(lab, foreign))
  t.equal((await lab.flistfs(['umount', lab.path('missing')])).code, 1)
})

mountTest('umount does not wait for a container that has the mount in its own tree', {}, async (t, lab) => {
  const mounted = await lab.mount(join(PROJECT, 'fixtures/sample/debian.fl'))
  const container = lab.start('unshare', [
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-c',
    'echo ready; exec sleep 3600',
  ])
  await until(() => container.stdout !== null && container.stdout.readableLength > 0)
  const done = await lab.flistfs(['umount', mounted.directory, '--json'])
  t.equal(done.code, 0, done.stderr)
  t.match(JSON.parse(done.stdout.toString()), { ended: false })
  const inside = ['--target', String(container.pid), '--mount', 'cat', `${mounted.directory}/usr/lib/os-release`]
  t.match(await lab.ok('nsenter', inside), 'Debian', 'it is served there')
  container.kill('SIGKILL')
  await until(() => lab.servers().length === 0)
})
