import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { only } from '../only.ts'
import { FLISTFS, PROJECT } from './lab.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const skip = (process.getuid?.() !== 0 || !existsSync('/dev/fuse')) && 'mounting needs root and /dev/fuse'

interface Listing {
  readonly directory: string
  readonly pid: number
  readonly supervisor: { readonly pid: number }
  readonly holder: { readonly pid: number }
  readonly state: string
}

/** The real program with a runtime folder and a cache of its own; what is left mounted is taken away. */
function begin(t: Test) {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-test-'))
  const mnt = join(dir, 'mnt')
  mkdirSync(mnt)
  const env = { ...process.env, FLISTFS_RUNTIME: join(dir, 'run'), FLISTFS_CACHE: join(dir, 'cache'), NODE_OPTIONS: '' }
  const sh = (command: string, ...words: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
    new Promise((done) => {
      execFile(command, words, { env, timeout: 120_000 }, (error, stdout, stderr) => {
        done({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr })
      })
    })
  const run = (...words: string[]) => sh(FLISTFS, ...words)
  const list = async () => JSON.parse((await run('list', '--json')).stdout) as Listing[]
  t.teardown(async () => {
    if (mountsAt(mnt) > 0) await run('umount', '--force', mnt)
    rmSync(dir, { recursive: true, force: true })
  })
  return { dir, mnt, env, sh, run, list }
}

function mountsAt(directory: string): number {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[4] === directory).length
}

t.test('mount, list, stats, umount', { skip }, async (t) => {
  const { mnt, sh, run, list } = begin(t)
  t.strictSame(await run('mount', SAMPLE, mnt), { code: 0, stdout: '', stderr: '' })
  t.match(only(await list()), { directory: mnt, archive: SAMPLE, state: 'mounted' })
  t.match(await sh('cat', join(mnt, 'etc/debian_version')), { code: 0, stdout: /^12\.\d+\n$/ })
  t.match(await sh('chroot', mnt, '/bin/bash', '-c', 'echo $((6 * 7))'), { code: 0, stdout: '42\n' })
  const stats = await run('stats', mnt, '--json')
  t.match(JSON.parse(stats.stdout), { directory: mnt, entries: 266, blocks: { total: 176 } })
  t.match((await run('stats')).stdout, /REQUEST +COUNT[^]*LOOKUP[^]*dir:/)
  t.strictSame(await run('umount', mnt), { code: 0, stdout: '', stderr: '' })
  t.equal(mountsAt(mnt), 0)
  t.strictSame(await list(), [])
})

t.test('umount of a mount in use fails, and --lazy leaves at once', { skip }, async (t) => {
  const { mnt, run, list } = begin(t)
  t.match(await run('mount', SAMPLE, mnt), { code: 0 })
  const user = spawn('sleep', ['3600'], { cwd: mnt, stdio: 'ignore' })
  t.teardown(() => user.kill('SIGKILL'))
  await once(user, 'spawn')
  t.match(await run('umount', mnt), { code: 1, stderr: /it is in use[^]*--lazy/ })
  const pid = (await list())[0]?.pid
  t.match(await run('umount', '--lazy', mnt, '--json'), { code: 0, stdout: /"ended":false/ })
  t.equal(mountsAt(mnt), 0)
  t.match((await run('list')).stdout, /leaving/)
  user.kill('SIGKILL')
  for (const end = Date.now() + 120_000; existsSync(`/proc/${pid}`) && Date.now() < end;) await run('list')
  t.notOk(existsSync(`/proc/${pid}`), 'the server ends with its last user')
})

t.test('umount --force takes away a dead mount', { skip }, async (t) => {
  const { mnt, sh, run, list } = begin(t)
  t.match(await run('mount', SAMPLE, mnt), { code: 0 })
  const [listing] = await list()
  for (const pid of [listing?.supervisor.pid, listing?.pid, listing?.holder.pid])
    process.kill(pid ?? Number.NaN, 'SIGKILL')
  t.not((await sh('stat', '-t', join(mnt, 'etc'))).code, 0)
  t.match(only(await list()), { directory: mnt, state: 'dead' })
  t.match(await run('umount', '--force', mnt), { code: 0 })
  t.equal(mountsAt(mnt), 0)
  t.strictSame(await list(), [])
})

t.test('mount --upper keeps changes, --rw throws them away', { skip }, async (t) => {
  const { dir, mnt, sh, run, list } = begin(t)
  const words = ['mount', SAMPLE, mnt, '--upper', join(dir, 'changes')]
  t.match(await run(...words), { code: 0, stderr: '' })
  t.match(await sh('sh', '-c', `echo mine > ${mnt}/etc/issue && rm ${mnt}/usr/bin/id && mkdir ${mnt}/srv2`), {
    code: 0,
  })
  t.match(await run('umount', mnt), { code: 0, stderr: '' })
  t.equal(mountsAt(mnt), 0)
  t.match(await run(...words), { code: 0 })
  t.match(await sh('sh', '-c', `cat ${mnt}/etc/issue; ls ${mnt}`), { stdout: /^mine\n[^]*srv2/ })
  t.notOk(existsSync(join(mnt, 'usr/bin/id')))
  t.match(await run('umount', mnt), { code: 0 })
  t.match(await run('mount', SAMPLE, mnt, '--rw'), { code: 0 })
  t.match(await sh('sh', '-c', `cat ${mnt}/etc/issue; echo x > ${mnt}/new`), { code: 0, stdout: /Debian/ })
  t.match(await run('umount', mnt), { code: 0 })
  t.strictSame(await list(), [])
})

t.test('mount --foreground says when it is ready and unmounts on SIGTERM', { skip }, async (t) => {
  const { mnt, env } = begin(t)
  const child = spawn(FLISTFS, ['mount', SAMPLE, mnt, '-f', '--json'], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const exit = once(child, 'exit', { signal: AbortSignal.timeout(120_000) })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line', {
    signal: AbortSignal.timeout(120_000),
  })) as [string]
  t.match(JSON.parse(line), { directory: mnt, archive: SAMPLE, foreground: true })
  t.equal(mountsAt(mnt), 1)
  child.kill('SIGTERM')
  t.strictSame(await exit, [0, null])
  t.equal(mountsAt(mnt), 0)
})

t.test('demo shows what was fetched and cleans up', { skip }, async (t) => {
  const { dir, env } = begin(t)
  const settings = join(dir, 'config.toml')
  writeFileSync(settings, '[mount]\nverify = "none"\n')
  Object.assign(env, { FLISTFS_CONFIG: settings, FLISTFS_STORE: 'dir:/nowhere', FLISTFS_UPPER: join(dir, 'changes') })
  const child = spawn(FLISTFS, ['demo'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const exit = once(child, 'exit', { signal: AbortSignal.timeout(120_000) })
  let text = ''
  for await (const line of createInterface({ input: child.stdout })) {
    text += `${line}\n`
    if (line.includes('Ctrl-C')) child.kill('SIGINT')
  }
  t.strictSame(await exit, [0, null])
  t.match(text, /Debian GNU\/Linux[^]*fetched for this: 1 block, [^]*fetched for this: 3 blocks/)
  const directory = /is mounted on (.*)/.exec(text)?.[1] ?? ''
  t.equal(mountsAt(directory), 0)
  t.notOk(existsSync(directory))
  t.notOk(existsSync(join(dir, 'changes')))
})
