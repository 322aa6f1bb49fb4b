import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { linkOf, namesIn } from '../../lib/base/index.ts'
import { only } from '../only.ts'
import { type Lab, mountTest, PROJECT, until } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')

async function listed(
  lab: Lab,
): Promise<{ directory: string; state: string; pid: number; users?: { processes: { pid: number }[] } }[]> {
  return JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString()) as {
    directory: string
    state: string
    pid: number
  }[]
}

/** Kills supervisors and servers at one moment; the holders of the devices live. */
async function orphan(lab: Lab): Promise<void> {
  const records = readdirSync(lab.runtime)
    .filter((file) => file.endsWith('.json'))
    .map(
      (name) =>
        JSON.parse(readFileSync(join(lab.runtime, name), 'utf8')) as { pid: number; supervisor: { pid: number } },
    )
  const pids = new Set([...records.map(({ supervisor }) => supervisor.pid), ...records.map(({ pid }) => pid)])
  for (const signal of ['SIGSTOP', 'SIGKILL'] as const) for (const pid of pids) process.kill(pid, signal)
  await until(async () => (await listed(lab)).every(({ state }) => state === 'orphaned'))
  await lab.ok('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
}

mountTest('mount goes on with what stands on its folder and has lost its server', {}, async (t, lab) => {
  const { directory } = await lab.mount(SAMPLE)
  await lab.ok('mkfifo', [lab.path('go')])
  const script = `cd '${directory}/etc' && read -r _ <'${lab.path('go')}' && exec cat debian_version`
  const user = lab.start('sh', ['-c', script], { env: { FLISTFS_RUNTIME: '' } })
  const said: Buffer[] = []
  user.stdout?.on('data', (bytes: Buffer) => said.push(bytes))
  const closed = once(user, 'close')
  await until(async () => (await lab.run('readlink', [`/proc/${user.pid}/cwd`])).stdout.toString().includes('/etc'))
  await orphan(lab)
  t.match(only(await listed(lab)), { state: 'orphaned', users: { processes: [{ pid: user.pid, uses: ['folder'] }] } })
  await lab.ok('sh', ['-c', `echo > '${lab.path('go')}'`])

  const again = await lab.mount(SAMPLE, { directory })
  t.match(only(await listed(lab)), { state: 'mounted', pid: again.pid }, 'one mount, not one over the other')
  t.strictSame(await closed, [0, null])
  t.match(Buffer.concat(said).toString(), /^12/, 'who waited has its bytes')
  const upper = await lab.mount(SAMPLE, { directory, words: ['--noexec'] })
  t.equal((await listed(lab)).length, 2)
  await lab.umount(upper)
  await lab.umount({ directory })
  await until(() => lab.servers().length === 0)

  await lab.mount(SAMPLE, { directory })
  await orphan(lab)
  const other = await lab.mount(SAMPLE, { directory, words: ['--noexec'] })
  t.strictSame(
    (await listed(lab)).map(({ state }) => state),
    ['mounted', 'mounted'],
    'other words are another mount, over one that works',
  )
  await lab.umount(other)
  t.match(await lab.ok('cat', [join(directory, 'etc/debian_version')]), /^12/)
  await lab.umount({ directory })
})

mountTest('mount goes on with what its folder lies in', {}, async (t, lab) => {
  for (const words of [[], ['--rw']]) {
    const { directory } = await lab.mount(SAMPLE, { words })
    await orphan(lab)
    const inside = join(directory, 'etc')
    const done = await lab.tryMount(SAMPLE, { directory: inside, words: ['--own-process'], timeoutMs: 30_000 })
    t.equal(done.code, 0, done.stderr)
    if (done.code !== 0) break
    t.match(await lab.ok('cat', [join(inside, 'etc/debian_version')]), /^12/)
    await lab.umount({ directory: inside })
    t.match(await lab.ok('cat', [join(directory, 'etc/debian_version')]), /^12/)
    await lab.umount({ directory })
  }
})

/** How often the processes that serve have the device of a mount; a holder, which is a shell, has its own. */
function devicesServed(lab: Lab): number {
  const servers = lab.servers().filter((pid) => linkOf(`/proc/${pid}/exe`).endsWith('/node'))
  const links = servers.flatMap((pid) => namesIn(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`)))
  return links.filter((link) => link === '/dev/fuse').length
}

mountTest('mounts that have lost their server are gone on with once, whoever comes to it', {}, async (t, lab) => {
  const mounts = [await lab.mount(SAMPLE), await lab.mount(SAMPLE), await lab.mount(SAMPLE)]
  for (const words of ['mount', 'upgrade']) {
    await orphan(lab)
    await Promise.all(
      mounts.map(({ directory }) => {
        return words === 'mount' ? lab.mount(SAMPLE, { directory }) : lab.flistfs(['upgrade', directory])
      }),
    )
    await until(async () => (await listed(lab)).every(({ state }) => state === 'mounted'))
    const listings = await listed(lab)
    t.ok(listings.length >= mounts.length)
    await until(() => devicesServed(lab) === listings.length)
    t.pass('no device is served twice')
  }
  for (let left = await listed(lab); left.length > 0; left = await listed(lab)) {
    for (const { directory } of left) await lab.umount({ directory })
  }
})

mountTest(
  'mount in other circumstances says so, and does not wait for a server that nobody starts',
  {},
  async (t, lab) => {
    const { directory } = await lab.mount(SAMPLE)
    await orphan(lab)
    const done = await lab.tryMount(SAMPLE, { directory, env: { AWS_PROFILE: 'another' } })
    t.match([done.code, done.stderr], [1, /Cannot go on with .*in other circumstances[^]*unmount it/])
    await lab.umount({ directory })
    t.strictSame(await listed(lab), [])
  },
)

mountTest('verbs that name a path inside a mount which nobody serves answer', {}, async (t, lab) => {
  const asked = async (path: string, at: string, verbs = ['umount']): Promise<void> => {
    for (const verb of verbs) {
      const words =
        verb === 'log-level' ? [verb, path, 'info'] : verb === 'trace' ? [verb, path, '--off'] : [verb, path]
      const done = await lab.flistfs(words, { timeoutMs: 30_000 })
      t.match([done.code, done.stderr], [1, /mounted there\n/], `${verb} ${path}`)
      if (at !== '') t.match(done.stderr, `It lies in the mount on "${at}"`)
    }
  }
  for (const words of [[], ['--rw']]) {
    const { directory, pid } = await lab.mount(SAMPLE, { words })
    const merged = lab.folder('merged')
    await lab.ok('ln', ['-sfn', join(directory, 'etc'), lab.path('link')])
    await lab.ok('mount', ['-t', 'overlay', 'none', merged, '-o', `lowerdir=${directory}:${lab.folder('empty')}`])
    process.kill(pid, 'SIGSTOP')
    await lab.ok('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
    await asked(join(directory, 'etc/absent'), directory)
    process.kill(pid, 'SIGCONT')
    await orphan(lab)
    await asked(join(directory, 'etc'), directory, ['umount', 'stats', 'upgrade', 'log-level', 'trace'])
    await asked(lab.path('link'), directory)
    await asked(join(merged, 'etc'), '')
    t.not((await lab.flistfs(['why', lab.path('link')], { timeoutMs: 30_000 })).code, 137)
    await lab.ok('umount', ['--lazy', '--internal-only', merged])
    await lab.umount({ directory }, '--force')
  }
})

mountTest('a mount is found by a link that lies in another', {}, async (t, lab) => {
  const outer = await lab.mount(SAMPLE, { words: ['--rw'] })
  const inner = await lab.mount(SAMPLE)
  await lab.ok('ln', ['-s', inner.directory, join(outer.directory, 'link')])
  t.match(await lab.stats({ directory: join(outer.directory, 'link') }), { directory: inner.directory })
  await lab.umount({ directory: join(outer.directory, 'link') })
  await lab.umount(outer)
})
