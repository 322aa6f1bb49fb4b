import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { BlockServer } from './block-server.ts'
import { type Lab, type Mounted, mountTest, PROJECT, until } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')

async function serverPid(lab: Lab): Promise<number> {
  const done = await lab.flistfs(['list', '--json'])
  const [listing] = JSON.parse(done.stdout.toString('utf8')) as { pid: number }[]
  return listing?.pid ?? 0
}

async function supervisorOf(lab: Lab, { directory }: Mounted): Promise<number> {
  const { stdout } = await lab.flistfs(['list', '--json'])
  const listed = JSON.parse(stdout.toString('utf8')) as { directory: string; supervisor: { pid: number } }[]
  return listed.find((one) => one.directory === directory)?.supervisor.pid ?? Number.NaN
}

/** Kills the server and waits until another has its place. */
async function killServer(lab: Lab): Promise<void> {
  const before = await serverPid(lab)
  process.kill(before, 'SIGKILL')
  await until(async () => {
    const now = await serverPid(lab)
    return now !== before && now !== 0
  })
}

/** The second as before Linux 6.9: nothing is repeated, so what was not answered is noted in a file (lib/kernel/pending.ts). */
const KERNELS: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['where the kernel repeats requests', {}],
  ['where it does not', { FLISTFS_NO_RESEND: '1' }],
]

/** A digest over every file's bytes, from a process of its own. */
async function sumOf(lab: Lab, mounted: Mounted): Promise<string> {
  const sums = await lab.ok('sh', [
    '-c',
    'cd "$0" && find . -xdev -type f -print0 | sort -z | xargs -0 sha256sum',
    mounted.directory,
  ])
  return createHash('sha256').update(sums).digest('hex')
}

for (const [kernel, env] of KERNELS)
  mountTest(`a server killed under load comes back, and readers never notice, ${kernel}`, {}, async (t, lab) => {
    const quiet = await lab.mount(SAMPLE)
    const right = await sumOf(lab, quiet)
    await lab.umount(quiet)
    const mounted = await lab.mount(SAMPLE, { cache: lab.folder('cache-2'), env })
    const holder = lab.start('sh', [
      '-c',
      'exec 5<"$0/usr/bin/bash"; cd "$0/usr/bin"; exec sleep 3600',
      mounted.directory,
    ])
    const readers = [1, 2, 3].map(async () => {
      const sums: string[] = []
      for (let round = 0; round < 3; round += 1) {
        await lab.run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
        sums.push(await sumOf(lab, mounted))
      }
      return sums
    })
    for (let kills = 0; kills < 6; kills += 1) await killServer(lab)
    for (const sums of await Promise.all(readers))
      t.strictSame(sums, [right, right, right], 'every byte, in every round')
    t.equal(holder.exitCode, null, 'an open file and a current folder outlive every server')
    t.equal(await lab.ok('cat', [`/proc/${holder.pid}/fd/5`]).then((text) => text.length > 0), true)
    holder.kill('SIGKILL')
    t.match(lab.logs(), /another server goes on/)
    await until(() => holder.signalCode !== null)
    await lab.umount(mounted)
  })

for (const [kernel, env] of KERNELS) {
  mountTest(`reads that wait for a store are not lost with the server, ${kernel}`, {}, async (t, lab) => {
    const server = await BlockServer.open(t, join(PROJECT, 'fixtures/sample/store'))
    server.behaviour = 'stall'
    const mounted = await lab.mount(SAMPLE, { words: ['--store', server.url, '--timeout', '120'], env })
    const names = ['bash', 'busybox', 'env', 'echo']
    const readers = names.map((name) => lab.run('sha256sum', [`${mounted.directory}/usr/bin/${name}`]))
    await until(() => server.waiting >= names.length)
    await killServer(lab)
    await killServer(lab)
    server.behaviour = 'serve'
    for (const done of await Promise.all(readers)) t.equal(done.code, 0, done.stderr)
    await lab.umount(mounted)
  })
}

mountTest('a writable mount survives its server, and keeps its changes', {}, async (t, lab) => {
  const mounted = await lab.mount(SAMPLE, { words: ['--upper', lab.path('changes')] })
  await lab.ok('sh', ['-c', 'echo one > "$0/root/note"; rm "$0/etc/bash.bashrc"', mounted.directory])
  await killServer(lab)
  t.equal(await lab.ok('cat', [join(mounted.directory, 'root/note')]), 'one\n')
  await lab.ok('sh', ['-c', 'echo two >> "$0/root/note"', mounted.directory])
  t.equal((await lab.run('cat', [join(mounted.directory, 'etc/bash.bashrc')])).code, 1)
  t.match(await lab.ok('chroot', [mounted.directory, '/bin/bash', '-c', 'echo still $(</root/note)']), 'still one two')
  await lab.umount(mounted)
  const again = await lab.mount(SAMPLE, { words: ['--upper', lab.path('changes')] })
  t.equal(await lab.ok('cat', [join(again.directory, 'root/note')]), 'one\ntwo\n')
  await lab.umount(again)
})

mountTest('umount ends a mount whose server was just killed', {}, async (t, lab) => {
  const mounted = await lab.mount(SAMPLE)
  process.kill(mounted.pid, 'SIGKILL')
  await lab.umount(mounted)
  await until(() => lab.servers().length === 0)
  t.strictSame(JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString('utf8')), [])
})

mountTest('upgrade puts another server in place under readers', {}, async (t, lab) => {
  const mounted = await lab.mount(SAMPLE)
  const processes = lab.servers().length
  const right = await sumOf(lab, mounted)
  const reader = (async () => {
    await lab.run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
    return sumOf(lab, mounted)
  })()
  for (const words of [[mounted.directory], ['--all']]) {
    const done = await lab.flistfs(['upgrade', ...words, '--json'])
    t.equal(done.code, 0, done.stderr)
    const [result] = JSON.parse(done.stdout.toString('utf8')) as { from: number; to: number }[]
    t.not(result?.from, result?.to)
    t.equal(result?.to, await serverPid(lab))
  }
  t.equal(await reader, right)
  const both = await Promise.all([1, 2].map(() => lab.flistfs(['upgrade', mounted.directory, '--json'])))
  for (const { code, stderr } of both) t.equal(code, 0, stderr)
  await until(() => lab.servers().length === processes)
  t.equal((await lab.flistfs(['upgrade', lab.dir])).code, 1, 'nothing is mounted there')
  t.equal((await lab.flistfs(['upgrade'])).code, 2)
  await lab.umount(mounted)
})

mountTest('a server that takes the place of another hears what that was asked', {}, async (t, lab) => {
  // The supervisor is slow to see that one has ended.
  writeFileSync(join(lab.folder('bin'), 'date'), `#!/bin/sh\nsleep 1\nexec /bin/date "$@"\n`, { mode: 0o755 })
  const mounted = await lab.mount(SAMPLE, { env: { PATH: `${lab.path('bin')}:${process.env['PATH'] ?? ''}` } })
  const processes = lab.servers().length
  const supervisor = await supervisorOf(lab, mounted)
  process.kill(mounted.pid, 'SIGSTOP')
  process.kill(supervisor, 'SIGUSR2')
  await until(() => lab.servers().length > processes)
  process.kill(supervisor, 'SIGTERM')
  await until(() => lab.servers().length === 0, 20_000)
  t.equal((await lab.run('findmnt', ['--mountpoint', mounted.directory])).code, 1)
})

mountTest('upgrade --all goes on where one mount cannot be upgraded', {}, async (t, lab) => {
  const lost = await lab.mount(SAMPLE, { words: ['--own-process'] })
  const node = lab.path('node')
  const program = (text: string): void => writeFileSync(node, `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  const good = `exec '${process.execPath}' "$@"`
  program(good)
  const broken = await lab.mount(SAMPLE, { words: ['--own-process'], env: { FLISTFS_NODE: node } })
  const well = await lab.mount(SAMPLE)
  process.kill(await supervisorOf(lab, lost), 'SIGKILL')
  program('exit 1')
  const done = await lab.flistfs(['upgrade', '--all', '--json'])
  t.equal(done.code, 3, done.stderr)
  const byPlace = new Map(
    (JSON.parse(done.stdout.toString('utf8')) as { directory: string }[]).map((one) => [one.directory, one]),
  )
  t.equal(byPlace.size, 3)
  t.match(byPlace.get(well.directory), { from: well.pid, to: Number })
  t.match(byPlace.get(lost.directory), { error: { code: 'FLIST_NOT_PERMITTED', message: /its supervisor is gone$/ } })
  t.match(byPlace.get(broken.directory), { error: { code: 'FLIST_TIMEOUT', message: /no new server was ready/ } })
  t.match(done.stderr, `Process ${broken.pid} serves on.`)
  for (const mounted of [lost, broken, well]) await sumOf(lab, mounted)
  const alone = await lab.flistfs(['upgrade', lost.directory])
  t.match(alone, { code: 1, stderr: /its supervisor is gone/ })
  program(good)
  t.match(await lab.flistfs(['upgrade', broken.directory]), { code: 0 }, 'once the program is whole')
  await sumOf(lab, broken)
  for (const mounted of [lost, broken, well]) await lab.umount(mounted)
  await until(() => lab.servers().length === 0)
})

mountTest('a mount whose server cannot go on for now is tried again', {}, async (t, lab) => {
  const archive = lab.path('moved.fl')
  await lab.ok('sh', [
    '-c',
    'cp "$0" "$1" && ln -s "$2" "$3"',
    SAMPLE,
    archive,
    join(PROJECT, 'fixtures/sample/store'),
    lab.path('store'),
  ])
  const mounted = await lab.mount(archive)
  await lab.ok('sh', ['-c', 'rm -r "$0/v1/index" && mv "$1" "$1.away"', lab.cache, archive])
  process.kill(mounted.pid, 'SIGKILL')
  await until(() => /no server can go on for now/.test(lab.logs()))
  await lab.ok('mv', [`${archive}.away`, archive])
  t.match(await lab.ok('cat', [join(mounted.directory, 'etc/debian_version')]), /^12/, 'the reader waited')
  t.match(await lab.ok('sh', ['-c', 'head -c 4 "$0/usr/bin/bash"', mounted.directory]), 'ELF')
  await lab.umount(mounted)
})
