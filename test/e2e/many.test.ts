import { once } from 'node:events'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ChildProcess } from 'node:child_process'
import { BlockServer } from './block-server.ts'
import { FLISTFS, type Lab, type Mounted, mountTest, PROJECT, until } from './mounted.ts'
import { packFiles } from './pack-tree.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const FILE = 'etc/debian_version'
const MOUNTS = 100
/** Starts at once: as many as a machine has processors, and some. */
const AT_ONCE = 6

interface Listing {
  readonly directory: string
  readonly state: string
  readonly pid: number
  readonly supervisor: { readonly pid: number }
  readonly holder: { readonly pid: number }
}

async function list(lab: Lab): Promise<Listing[]> {
  return JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString('utf8')) as Listing[]
}

async function listingOf(lab: Lab, { directory }: Mounted): Promise<Listing> {
  const found = (await list(lab)).find((listing) => listing.directory === directory)
  if (found === undefined) throw new Error(`${directory} is not listed`)
  return found
}

function read(lab: Lab, { directory }: Mounted, file = FILE): Promise<string> {
  return lab.ok('cat', [join(directory, file)])
}

/** KiB of a process; 0 where it has ended. */
function memoryOf(pid: number): { rss: number; pss: number } {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
    const value = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0)
    return { rss: value('Rss'), pss: value('Pss') }
  } catch {
    return { rss: 0, pss: 0 }
  }
}

/** Of all that the mounts have: server, supervisor, holders. */
function memoryInAll(lab: Lab): { rss: number; pss: number } {
  const each = lab.servers().map(memoryOf)
  return { rss: each.reduce((sum, { rss }) => sum + rss, 0), pss: each.reduce((sum, { pss }) => sum + pss, 0) }
}

async function mountMany(lab: Lab, count: number): Promise<Mounted[]> {
  const mounted: Mounted[] = []
  const next = async (): Promise<void> => {
    for (; count > 0;) {
      count -= 1
      mounted.push(await lab.mount(SAMPLE))
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, next))
  return mounted
}

function servesAll(listings: readonly Listing[], pid: number): boolean {
  return listings.every((listing) => listing.pid === pid && listing.state === 'mounted')
}

mountTest('a hundred mounts share a server, and come back when it is killed', {}, async (t, lab) => {
  const first = await lab.mount(SAMPLE)
  await read(lab, first)
  const alone = memoryInAll(lab)
  const mounts = [first, ...(await mountMany(lab, MOUNTS - 1))]
  t.strictSame([...new Set(mounts.map(({ pid }) => pid))], [first.pid], 'one server')
  t.equal(new Set((await list(lab)).map(({ holder }) => holder.pid)).size, MOUNTS, 'a holder each')
  for (const mount of mounts) t.match(await read(lab, mount), /^12/)
  const all = memoryInAll(lab)
  const each = { rss: (all.rss - alone.rss) / (MOUNTS - 1), pss: (all.pss - alone.pss) / (MOUNTS - 1) }
  t.comment(
    `one mount ${alone.rss} KiB resident, each further ${each.rss.toFixed(0)}; of its own ${each.pss.toFixed(0)}`,
  )
  t.ok(each.rss < 10 * 1024, 'a further mount is under 10 MB, all its processes included')

  const held = lab.start('sh', ['-c', 'exec 5<"$0/usr/bin/bash"; exec sleep 3600', mounts[50]?.directory ?? ''])
  const readers = [1, 33, 66, 99].map((nth) => readAgain(lab, mounts[nth]))
  for (let kills = 0; kills < 3; kills += 1) {
    const { pid } = await listingOf(lab, first)
    process.kill(pid, 'SIGKILL')
    await until(async () => {
      const listings = await list(lab)
      return listings[0] !== undefined && listings[0].pid !== pid && servesAll(listings, listings[0].pid)
    })
  }
  for (const reader of readers) t.strictSame(await reader.stop(), '', 'no reader saw an error')
  t.equal(held.exitCode, null)
  for (const mount of mounts) t.match(await read(lab, mount), /^12/)
  held.kill('SIGKILL')
  await until(() => held.signalCode !== null)
  await lab.ok(
    'umount',
    mounts.map(({ directory }) => directory),
    {},
  )
  await until(() => lab.servers().length === 0)
  t.strictSame(await list(lab), [])
})

/** A process that reads one mount over and over, and says what went wrong. */
function readAgain(lab: Lab, mount: Mounted | undefined): { stop: () => Promise<string> } {
  const script = 'cd "$0" && while [ ! -e "$1" ]; do find . -type f -exec cat {} + >/dev/null || echo failed; done'
  const flag = lab.path(`stop-${Math.random()}`)
  const child: ChildProcess = lab.start('sh', ['-c', script, mount?.directory ?? '', flag])
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => (said += chunk.toString()))
  // All that it said has come by then, not only its end.
  const closed = once(child, 'close')
  return {
    stop: async () => {
      await lab.ok('touch', [flag])
      await closed
      return said
    },
  }
}

mountTest('mounts that begin at once have one server', {}, async (t, lab) => {
  const mounts = await Promise.all([1, 2, 3, 4].map(() => lab.mount(SAMPLE)))
  t.equal(new Set(mounts.map(({ pid }) => pid)).size, 1)
  for (const mount of mounts) t.match(await read(lab, mount), /^12/)
})

mountTest('a server that is too slow to take a mount leaves it to whoever serves it then', {}, async (t, lab) => {
  for (const env of [{}, { FLISTFS_NO_RESEND: '1' }]) {
    const slow = await lab.mount(SAMPLE, { env })
    await until(() => readdirSync(lab.runtime).some((name) => name.endsWith('.join')))
    process.kill(slow.pid, 'SIGSTOP')
    const own = await lab.mount(SAMPLE, { env, words: ['--rw'], timeoutMs: 60_000 })
    t.not(own.pid, slow.pid)
    const before = readdirSync(lab.runtime).filter((name) => name.startsWith(`${own.pid}-`))
    process.kill(slow.pid, 'SIGCONT')
    await lab.umount(slow)
    const { state, holder } = await listingOf(lab, own)
    t.equal(state, 'mounted')
    t.ok(lab.servers().includes(holder.pid), 'its holder lives')
    const after = readdirSync(lab.runtime)
    t.ok(before.every((name) => after.includes(name)))
    t.match(await read(lab, own), /^12/)
    await lab.umount(own)
  }
})

mountTest('mount leaves no process where nothing is mounted', {}, async (t, lab) => {
  for (const word of ['--version', '-V', '--help', 'none']) await lab.flistfs(['mount', word, lab.path('none')])
  await until(() => lab.servers().length === 0, 10_000)
})

mountTest('a store that stalls holds up no other mount', {}, async (t, lab) => {
  const files = Object.fromEntries(Array.from({ length: 200 }, (_, nth) => [`f${nth}`, randomBytes(300_000)]))
  const { archive, store } = await packFiles(lab.dir, 'a', files)
  const server = await BlockServer.open(t, store)
  server.behaviour = 'stall'
  const stalled = await lab.mount(archive, { words: ['--store', server.url, '--timeout', '600', '--on-error', 'wait'] })
  const readers = Object.keys(files).map((name) => lab.start('cat', [join(stalled.directory, name)]))
  let bytes = 0
  for (const reader of readers) reader.stdout?.on('data', (chunk: Buffer) => (bytes += chunk.length))
  const closed = readers.map((reader) => once(reader, 'close'))
  await until(() => server.requests > 0)

  const other = await lab.mount(SAMPLE)
  t.equal(other.pid, stalled.pid, 'the same server')
  const cold = await lab.ok('sh', ['-c', 'find "$0" -type f -exec cat {} + | wc -c', other.directory])
  await lab.run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
  t.equal(await lab.ok('sh', ['-c', 'find "$0" -type f -exec cat {} + | wc -c', other.directory]), cold, 'and cached')
  t.ok(Number(cold) > 1_000_000)
  t.equal(bytes, 0, 'the first one still waits')
  t.match(await lab.stats(other), { reads: { waiting: 0, errors: 0 } })
  await lab.umount(other)

  server.behaviour = 'serve'
  for (const end of closed) t.strictSame(await end, [0, null])
  t.equal(bytes, 200 * 300_000, 'and goes on')
  await lab.umount(stalled)
})

mountTest('who shares a server, and who does not', {}, async (t, lab) => {
  const first = await lab.mount(SAMPLE)
  const pids = new Set([first.pid])
  const joins = async (words: readonly string[], env = {}): Promise<void> => {
    const mounted = await lab.mount(SAMPLE, { words, env })
    t.equal(mounted.pid, first.pid, `shared: ${words.join(' ')} ${Object.keys(env).join()}`)
    t.match(await read(lab, mounted), /^12/)
  }
  await joins(['--rw'])
  await joins(['--passthrough', '--verify', 'always', '--cache-size', '1G', '--timeout', '5', '--on-error', 'wait'])
  await joins([], { FLISTFS_STORE: `dir://${join(PROJECT, 'fixtures/sample/store')}`, PS1: 'x' })

  const stays = async (options: Parameters<Lab['mount']>[1], what: string): Promise<void> => {
    const mounted = await lab.mount(SAMPLE, options)
    t.notOk(pids.has(mounted.pid), `apart: ${what}`)
    pids.add(mounted.pid)
    t.match(await read(lab, mounted), /^12/)
    t.match(await listingOf(lab, mounted), { pid: mounted.pid, state: 'mounted' })
  }
  await stays({ words: ['--own-process'] }, '--own-process')
  await stays({ env: { FLISTFS_OWN_PROCESS: '1' } }, 'the same by a setting')
  await stays({ cache: lab.folder('cache-2') }, 'another cache')
  await stays({ env: { AWS_PROFILE: 'other' } }, 'other credentials')
  await stays({ env: { https_proxy: 'http://127.0.0.1:1' } }, 'another proxy')
  const store = `dir://${join(PROJECT, 'fixtures/sample/store')}`
  await stays(
    { words: ['--store', store, '--store', 'zdb://127.0.0.1:1/ns?password-env=SECRET'], env: { SECRET: 'x' } },
    'a secret in a variable',
  )
  for (const { directory } of await list(lab)) await lab.umount({ directory })
  await until(() => lab.servers().length === 0)
})

mountTest('whoever ends a holder unmounts that mount alone', {}, async (t, lab) => {
  const [one, two] = [await lab.mount(SAMPLE), await lab.mount(SAMPLE, { words: ['--rw'] })]
  const third = await lab.mount(SAMPLE)
  for (const mount of [one, two]) {
    process.kill((await listingOf(lab, mount)).holder.pid, 'SIGTERM')
    await until(async () => !(await list(lab)).some(({ directory }) => directory === mount.directory))
    t.not((await lab.run('mountpoint', ['-q', mount.directory])).code, 0)
  }
  t.match(await read(lab, third), /^12/)
  t.equal((await listingOf(lab, third)).pid, one.pid, 'the server is the first one’s process, and stays for the last')
  await lab.umount(third)
  await until(() => lab.servers().length === 0)
})

mountTest('a mount that cannot go on disturbs no other', {}, async (t, lab) => {
  const { archive, store } = await packFiles(lab.dir, 'a', { one: randomBytes(100_000) })
  const words = ['--store', `dir://${store}`]
  const [lost, well] = [await lab.mount(archive, { words }), await lab.mount(SAMPLE)]
  const { digest } = lost
  await lab.ok('sh', ['-c', 'rm "$0"/v1/index/*/"$1".idx && mv "$2" "$2.away"', lab.cache, digest, archive])
  process.kill(well.pid, 'SIGKILL')
  await lab.run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
  t.match(await read(lab, well), /^12/, 'the other one is served')
  await until(() => readFileSync(lost.log, 'utf8').includes('no server can go on for now'))
  const reader = lab.ok('sh', ['-c', 'cat "$0/one" | wc -c', lost.directory])
  await lab.umount(await lab.mount(SAMPLE))
  await lab.ok('mv', [`${archive}.away`, archive])
  t.equal((await reader).trim(), '100000', 'its readers waited')
  await lab.umount(lost)
  await lab.umount(well)
})

mountTest('a mount goes on without a log and a trace that cannot be written any more', {}, async (t, lab) => {
  await lab.ok('mkdir', [lab.path('gone')])
  const [lost, well] = [await lab.mount(SAMPLE, { words: ['--log', lab.path('gone/log')] }), await lab.mount(SAMPLE)]
  await lab.ok('sh', [FLISTFS, 'trace', lost.directory, lab.path('gone/trace')])
  await lab.ok('rm', ['-r', lab.path('gone')])
  process.kill(lost.pid, 'SIGKILL')
  await lab.run('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
  for (const mounted of [lost, well]) t.match(await read(lab, mounted), /^12/)
  for (const mounted of [lost, well]) await lab.umount(mounted)
})

mountTest('mounting and unmounting leaves nothing in the server', {}, async (t, lab) => {
  const stays = await lab.mount(SAMPLE)
  const { pid } = stays
  const descriptors = (): number => readdirSync(`/proc/${pid}/fd`).length
  const mappings = (): number =>
    readFileSync(`/proc/${pid}/maps`, 'utf8')
      .split('\n')
      .filter((line) => line.includes('.idx')).length
  const round = async (words: readonly string[]): Promise<void> => {
    const mounted = await lab.mount(SAMPLE, { words })
    t.equal(mounted.pid, pid)
    await lab.ok('sh', ['-c', 'cat "$0"/usr/bin/bash >/dev/null; ls -lR "$0" >/dev/null', mounted.directory])
    await lab.umount(mounted)
  }
  for (const words of [[], ['--rw'], ['--passthrough']]) await round(words)
  await read(lab, stays)
  const [fds, maps, memory] = [descriptors(), mappings(), memoryOf(pid).rss]
  for (let count = 0; count < 20; count += 1) await round(count % 5 === 0 ? ['--rw'] : [])
  await until(() => descriptors() <= fds + 1 && mappings() <= maps)
  t.pass('no descriptor and no mapping')
  t.comment(`${memory} KiB before, ${memoryOf(pid).rss} KiB after 20 mounts`)
  t.ok(memoryOf(pid).rss < memory + 60 * 1024, 'no memory to speak of')
  // Server, supervisor, one holder.
  await until(() => lab.servers().length === 3)
  await lab.umount(stays)
})

mountTest('when supervisor and server are gone the next mount or upgrade goes on', {}, async (t, lab) => {
  const orphan = async (): Promise<void> => {
    const listings = await list(lab)
    const { supervisor, pid } = listings[0] ?? { supervisor: { pid: Number.NaN }, pid: Number.NaN }
    process.kill(supervisor.pid, 'SIGKILL')
    process.kill(pid, 'SIGKILL')
    await until(async () => (await list(lab)).every(({ state }) => state === 'orphaned'))
  }
  const mounts = [await lab.mount(SAMPLE), await lab.mount(SAMPLE, { words: ['--rw'] })]
  await lab.ok('sh', ['-c', 'echo mine > "$0/root/note"', mounts[1]?.directory ?? ''])
  await orphan()
  const reader = lab.ok('cat', [join(mounts[0]?.directory ?? '', 'usr/lib/os-release')])
  const third = await lab.mount(SAMPLE)
  t.match(await reader, /Debian/, 'who waited is served')
  await until(async () => servesAll(await list(lab), third.pid))

  await orphan()
  const done = await lab.flistfs(['upgrade', '--all', '--json'])
  t.equal(done.code, 0, done.stderr)
  t.equal((JSON.parse(done.stdout.toString('utf8')) as unknown[]).length, 3)
  t.equal(await lab.ok('cat', [join(mounts[1]?.directory ?? '', 'root/note')]), 'mine\n')
  const { pid } = await listingOf(lab, third)
  process.kill(pid, 'SIGKILL')
  t.match(await read(lab, third), /^12/, 'the new supervisor keeps them')

  await orphan()
  for (const { directory } of [...mounts, third]) await lab.umount({ directory })
  await until(() => lab.servers().length === 0)
})

mountTest('an upgrade replaces the server once, and keeps what was changed', {}, async (t, lab) => {
  const mounts = [await lab.mount(SAMPLE), await lab.mount(SAMPLE)]
  const [one, two] = mounts
  if (one === undefined || two === undefined) return
  await lab.ok('sh', [FLISTFS, 'log-level', two.directory, 'error'])
  await lab.ok('sh', [FLISTFS, 'trace', two.directory, lab.path('trace')])
  const done = await lab.flistfs(['upgrade', '--all', '--json'])
  const results = JSON.parse(done.stdout.toString('utf8')) as { from: number; to: number }[]
  t.equal(new Set(results.map(({ to }) => to)).size, 1, 'one new server')
  t.equal(results.length, 2)
  t.strictSame([...new Set(results.map(({ from }) => from))], [one.pid])
  t.match(await lab.stats(two), { logLevel: 'error', trace: lab.path('trace') })
  t.match(await lab.stats(one), { logLevel: 'debug' })
  const { supervisor } = await listingOf(lab, one)
  // A server that is being replaced is asked to end too.
  process.kill(supervisor.pid, 'SIGUSR2')
  process.kill(supervisor.pid, 'SIGTERM')
  await until(() => lab.servers().length === 0)
  t.strictSame(await list(lab), [], 'all are unmounted')
})
