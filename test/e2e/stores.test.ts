import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { join } from 'node:path'
import { BlockServer } from './block-server.ts'
import { type Lab, mountTest, type Mounted, until } from './mounted.ts'
import { packFiles } from './pack-tree.ts'

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

interface StoreState {
  readonly state: string
  readonly requests: number
  readonly openForMs: number
  readonly lastError?: { readonly message: string }
}

async function stores(lab: Lab, mounted: Mounted): Promise<StoreState[]> {
  return (await lab.stats(mounted)).stores as unknown as StoreState[]
}

async function waiting(lab: Lab, mounted: Mounted): Promise<number> {
  return (await lab.stats(mounted)).reads['waiting'] ?? 0
}

mountTest('--on-error wait: readers wait while the store is dead, and go on by themselves', {}, async (t, lab) => {
  const content = randomBytes(1_500_000)
  const { archive, store } = await packFiles(lab.dir, 'a', { one: content, two: randomBytes(600_000) })
  const server = await BlockServer.open(t, store)
  server.behaviour = 'dead'
  const mounted = await lab.mount(archive, { words: ['--store', server.url, '--timeout', '1', '--on-error', 'wait'] })
  const reading = lab.run('sha256sum', [join(mounted.directory, 'one')])
  const impatient = lab.start('cat', [join(mounted.directory, 'two')])
  const direct = lab.start('dd', [`if=${join(mounted.directory, 'two')}`, 'iflag=direct', 'bs=1M', 'of=/dev/null'])
  await until(async () => (await stores(lab, mounted))[0]?.state === 'open' && (await waiting(lab, mounted)) >= 3)
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  t.equal(impatient.exitCode, null, 'they wait longer than --timeout')
  t.ok((await waiting(lab, mounted)) >= 2, 'and are counted')
  const [state] = await stores(lab, mounted)
  t.ok((state?.openForMs ?? 0) > 2_000)
  t.match(state?.lastError?.message, /Cannot read from store/)
  t.ok((state?.requests ?? 999) < 200, `${state?.requests} requests: a dead store is not flooded`)

  for (const reader of [impatient, direct]) {
    const gone = once(reader, 'exit')
    reader.kill('SIGKILL')
    await gone
  }
  server.behaviour = 'serve'
  t.equal((await reading).stdout.toString().slice(0, 64), sha256(content))
  t.equal((await stores(lab, mounted))[0]?.state, 'ok')
  await lab.umount(mounted)
})

mountTest('--on-error wait: what is lost or wrong is still an error', {}, async (t, lab) => {
  const { archive, store } = await packFiles(lab.dir, 'a', { one: randomBytes(1000), two: randomBytes(1000) })
  const server = await BlockServer.open(t, store)
  const mounted = await lab.mount(archive, { words: ['--store', server.url, '--on-error', 'wait'] })
  for (const [name, behaviour] of [['one', 'without'] as const, ['two', 'corrupt'] as const]) {
    server.behaviour = behaviour
    const done = await lab.run('cat', [join(mounted.directory, name)])
    t.match(done.stderr, 'Input/output error', behaviour)
  }
  await lab.umount(mounted)
})

for (const words of [['--force'], ['--lazy']]) {
  mountTest(`--on-error wait: umount ${words.join(' ')} ends where readers wait`, {}, async (t, lab) => {
    const { archive, store } = await packFiles(lab.dir, 'a', { one: randomBytes(600_000) })
    const server = await BlockServer.open(t, store)
    server.behaviour = 'stall'
    const mounted = await lab.mount(archive, { words: ['--store', server.url, '--timeout', '1', '--on-error', 'wait'] })
    const reader = lab.start('cat', [join(mounted.directory, 'one')])
    const ended = once(reader, 'exit')
    await until(async () => (await waiting(lab, mounted)) > 0)
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    await lab.umount(mounted, ...words)
    if (words.includes('--lazy')) reader.kill('SIGKILL')
    await ended
    await until(() => lab.servers().length === 0)
  })
}

mountTest('a dead mirror costs the first readers a moment, the later ones nothing', {}, async (t, lab) => {
  const names = Array.from({ length: 120 }, (_, nth) => `file-${nth}`)
  const { archive, store } = await packFiles(
    lab.dir,
    'a',
    Object.fromEntries(names.map((name) => [name, randomBytes(2000)])),
  )
  const [bad, good] = [await BlockServer.open(t, store), await BlockServer.open(t, store)]
  bad.behaviour = 'stall'
  const words = ['--store', bad.url, '--store', good.url, '--timeout', '2m']
  const mounted = await lab.mount(archive, { words })
  const cat = (some: readonly string[]): Promise<string> =>
    lab.ok('sh', [
      '-c',
      'for f; do cat "$f" >/dev/null & done; wait',
      'sh',
      ...some.map((name) => join(mounted.directory, name)),
    ])
  await cat(names.slice(0, 60))
  t.match(await stores(lab, mounted), [{ state: /^(failing|open)$/ }, { state: 'ok' }])
  const first = bad.requests
  await cat(names.slice(60))
  t.ok(bad.requests - first < 20, `${bad.requests - first} requests of later readers to the dead one, after ${first}`)
  await lab.umount(mounted)
})
