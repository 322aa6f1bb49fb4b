import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'

const PROGRAM = join(import.meta.dirname, 'leftovers.ts')

t.test('what the tests leave is named, and what is alive is ended', async (t) => {
  // A name of its own: the run that this test is part of has one too.
  const folder = mkdtempSync(join(tmpdir(), 'flistfs-left-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const leftovers = (): { status: number | null; lines: string[] } => {
    const { status, stdout } = spawnSync(process.execPath, [PROGRAM, folder, '0'], {
      encoding: 'utf8',
      timeout: 300_000,
    })
    return { status, lines: stdout.split('\n').filter((line) => line !== '' && !line.includes('/.tap/fixtures/')) }
  }
  mkdirSync(join(folder, 'published'))
  writeFileSync(join(folder, 'flistfs-torture-4711.log'), '')
  t.strictSame(leftovers().lines, [])

  const child = spawn('sleep', ['3600'], { env: { ...process.env, TMPDIR: join(folder, 'a test') }, stdio: 'ignore' })
  t.teardown(() => child.kill('SIGKILL'))
  const ended = once(child, 'exit')
  const place = join(folder, 'a test')
  mkdirSync(place)
  const mounts = spawnSync('mount', ['-t', 'tmpfs', 'flistfs-test', place], { stdio: 'ignore' }).status === 0
  const { status, lines } = leftovers()
  t.equal(status, 1)
  t.strictSame(lines, [
    `not ok - left by the tests: process ${child.pid}: sleep 3600 `,
    ...(mounts ? [`not ok - left by the tests: mount ${place}`] : []),
    `not ok - left by the tests: file ${place}`,
  ])
  t.strictSame(await ended, [null, 'SIGKILL'])
  t.notOk(readFileSync('/proc/self/mountinfo', 'utf8').includes(folder), 'nothing is mounted there')
  t.ok(existsSync(place), 'files stay')
})
