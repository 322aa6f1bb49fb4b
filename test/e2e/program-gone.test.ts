import { readdirSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { lacks, mountTest, PROGRAMS, PROJECT } from './mounted.ts'

const ARCHIVE = join(PROJECT, 'fixtures/sample/debian.fl')

mountTest(
  'reads end though the fetch thread cannot start, and go on when it can',
  { skip: lacks('cp') },
  async (t, lab) => {
    // A program of its own, of which a part is taken away.
    const program = lab.folder('program')
    const from = dirname(PROGRAMS)
    for (const name of ['bin', 'dist', 'lib', 'fixtures', 'package.json'].filter((each) =>
      readdirSync(from).includes(each),
    ))
      await lab.ok('cp', ['-r', join(from, name), program])
    await lab.ok('ln', ['-s', join(PROJECT, 'node_modules'), program])
    const directory = lab.folder('mnt')
    const log = lab.path('log-program')
    const words = ['--cache', lab.cache, '--own-process', '--timeout', '2s', '--log', log, '--json']
    const flistfs = join(program, 'bin/flistfs')
    const said = JSON.parse(await lab.ok('sh', [flistfs, 'mount', ARCHIVE, directory, ...words])) as { pid: number }
    await lab.ok('sh', ['-c', 'cat "$0/usr/bin/bash" >/dev/null', directory])
    const threads = readdirSync(program, { recursive: true, encoding: 'utf8' })
      .filter((name) => /fetch-thread\.[jt]s$/.test(name))
      .map((name) => join(program, name))
    t.not(threads.length, 0, 'there is something to take away')
    for (const thread of threads) renameSync(thread, `${thread}.away`)
    process.kill(said.pid, 'SIGKILL')
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
