import { copyFileSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Lab, lacks, mountTest, PROGRAMS, PROJECT, until } from './mounted.ts'

const ARCHIVE = join(PROJECT, 'fixtures/sample/debian.fl')

/** A program of its own, whose files can be taken away or replaced, and a mount that it serves. */
async function mountByOwn(lab: Lab, timeout: string): Promise<{ directory: string; pid: number; threads: string[] }> {
  const program = lab.folder('program')
  const from = dirname(PROGRAMS)
  for (const name of ['bin', 'dist', 'lib', 'fixtures', 'package.json'].filter((each) =>
    readdirSync(from).includes(each),
  ))
    await lab.ok('cp', ['-r', join(from, name), program])
  await lab.ok('ln', ['-s', join(PROJECT, 'node_modules'), program])
  const directory = lab.folder('mnt')
  const log = lab.path('log-program')
  const words = ['--cache', lab.cache, '--own-process', '--timeout', timeout, '--log', log, '--json']
  const flistfs = join(program, 'bin/flistfs')
  const said = JSON.parse(await lab.ok('sh', [flistfs, 'mount', ARCHIVE, directory, ...words])) as { pid: number }
  await lab.ok('sh', ['-c', 'cat "$0/usr/bin/bash" >/dev/null', directory])
  const threads = readdirSync(program, { recursive: true, encoding: 'utf8' })
    .filter((name) => /fetch-thread\.(?:cjs|ts)$/.test(name))
    .map((name) => join(program, name))
  return { directory, pid: said.pid, threads }
}

async function serverOf(lab: Lab, directory: string): Promise<number | undefined> {
  const mounts = JSON.parse(await lab.ok('sh', [join(PROGRAMS, 'flistfs'), 'list', '--json'])) as {
    directory: string
    pid: number
    state: string
  }[]
  return mounts.find((one) => one.directory === directory && one.state !== 'dead')?.pid
}

/** As package managers do: the new file is ready before it takes the place. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text)
  renameSync(`${path}.new`, path)
}

mountTest(
  'reads end though the fetch thread cannot start, and go on when it can',
  { skip: lacks('cp') },
  async (t, lab) => {
    const { directory, pid, threads } = await mountByOwn(lab, '2s')
    t.not(threads.length, 0, 'there is something to take away')
    for (const thread of threads) renameSync(thread, `${thread}.away`)
    process.kill(pid, 'SIGKILL')
    await lab.ok('sh', ['-c', 'stat "$0/usr/bin/bash" >/dev/null', directory])
    const read = ['-c', 'cat "$0/usr/bin/ls" | wc -c; cat "$0/usr/bin/ls" >/dev/null', directory]
    const refused = await lab.run('sh', read)
    t.not(refused.code, 0, 'the read ends')
    t.match(refused.stderr, /Input\/output error/)
    t.equal(refused.stdout.toString().trim(), '0', 'and gives nothing')
    for (const thread of threads) renameSync(`${thread}.away`, thread)
    let again = await lab.run('sh', read)
    for (const end = Date.now() + 60_000; again.code !== 0 && Date.now() < end;) again = await lab.run('sh', read)
    t.equal(again.code, 0, `it goes on: ${again.stderr}`)
    await lab.umount({ directory })
  },
)

mountTest('reads go on when a package that is needed for them is back', {}, async (t, lab) => {
  const { directory, pid } = await mountByOwn(lab, '60s')
  const packages = lab.path('program/node_modules')
  process.kill(pid, 'SIGKILL')
  await until(async () => ![undefined, pid].includes(await serverOf(lab, directory)))
  await lab.ok('sh', [join(PROGRAMS, 'flistfs'), 'stats', directory])
  renameSync(packages, `${packages}.away`)
  const read = ['-c', 'cat "$0/usr/bin/ls" | wc -c', directory]
  t.match((await lab.run('sh', read)).stderr, 'error')
  renameSync(`${packages}.away`, packages)
  // Failures are remembered for a moment.
  await until(async () => (await lab.run('sh', read)).stderr === '', 20_000)
  await lab.umount({ directory })
})

mountTest('a server whose program is replaced hands over to the new one by itself', {}, async (t, lab) => {
  const { directory, pid, threads } = await mountByOwn(lab, '60s')
  for (const thread of threads) replace(thread, readFileSync(thread, 'utf8'))
  await until(async () => ![undefined, pid].includes(await serverOf(lab, directory)))
  await lab.ok('sh', ['-c', 'cat "$0/usr/bin/ls" >/dev/null', directory])
  t.match(readFileSync(lab.path('log-program'), 'utf8'), /files of the program were replaced/, 'and says why')
  await lab.umount({ directory })
})

mountTest('a thread of another program is not started: its server is asked the reads', {}, async (t, lab) => {
  const { directory, pid, threads } = await mountByOwn(lab, '120s')
  for (const thread of threads) {
    copyFileSync(thread, `${thread}.good`)
    replace(thread, "throw new Error('a broken program')\n")
  }
  process.kill(pid, 'SIGKILL')
  await lab.ok('sh', ['-c', 'stat "$0/usr/bin/bash" >/dev/null', directory])
  const broken = await serverOf(lab, directory)
  const read = lab.run('sh', ['-c', 'cat "$0/usr/bin/ls" | wc -c', directory])
  await until(() => readFileSync(lab.path('log-program'), 'utf8').includes('a broken program'))
  for (const thread of threads) renameSync(`${thread}.good`, thread)
  const done = await read
  t.equal(done.stderr, '', 'the read that waited has its answer')
  t.not(done.stdout.toString().trim(), '0', 'which is whole')
  // From another server, which answers a moment before it is in the list.
  await until(async () => ![undefined, broken].includes(await serverOf(lab, directory)), 20_000)
  await lab.umount({ directory })
})
