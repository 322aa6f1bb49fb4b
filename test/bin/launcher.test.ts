import { spawn, spawnSync, type StdioOptions } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'

const ROOT = resolve(import.meta.dirname, '../..')
const BACKGROUND = JSON.stringify(join(ROOT, 'lib/commands/background.ts'))

/** Stands where bin/flistfs.ts does: the launcher is the thing tried, with a program that does what each case calls for. */
const PROGRAM = `
import { isAwaited, leaveTerminal, tellSupervisor } from ${BACKGROUND}
import { readlinkSync, writeFileSync, writeSync } from 'node:fs'
const [verb, how, file] = process.argv.slice(2).filter((word) => word !== '--json')
const note = (text: string) => writeFileSync(file ?? '/dev/null', text)
process.on('SIGHUP', () => { note('SIGHUP'); process.exit(how === 'own-code' ? 7 : 130) })
if (!isAwaited()) { writeSync(1, 'foreground ' + verb); process.exit(0) }
if (how === 'fail') { writeSync(2, 'no such thing'); process.exit(11) }
if (how === 'crash') throw new Error('broken at start')
if (how === 'kill') process.kill(process.pid, 'SIGKILL')
if (how === 'serve') {
  writeSync(1, 'mounted')
  leaveTerminal()
  // As a server at its last unmount does: nobody else ends the one who holds the device.
  process.on('SIGTERM', () => {
    const holder = Number(process.env.FLISTFS_HOLDER ?? process.ppid)
    if (holder !== process.ppid) process.kill(holder, 'SIGKILL')
    process.exit(0)
  })
  tellSupervisor(process.ppid)
  const ends = [0, 1, 2].map((fd) => readlinkSync('/proc/self/fd/' + fd)).join(' ')
  note([process.pid, process.ppid, process.env.FLISTFS_HOLDER ?? '-', process.cwd(), ends].join(' '))
} else {
  note(String(process.pid))
}
setTimeout(() => {}, 600_000)
`

for (const shell of ['dash', 'bash']) {
  t.test(`launcher under ${shell}`, { skip: pathOf(shell) === undefined && `${shell} is not installed` }, async (t) => {
    const dir = t.testdir({ bin: { 'flistfs.ts': PROGRAM } })
    for (const name of ['flistfs', 'node', 'supervise']) copyFileSync(join(ROOT, 'bin', name), join(dir, 'bin', name))
    chmodSync(join(dir, 'bin/flistfs'), 0o755)
    const file = join(dir, 'note')

    /** A lock of the caller's. */
    const lock = openSync(join(dir, 'lock'), 'w')
    t.teardown(() => closeSync(lock))
    const start = (...words: string[]) => {
      writeFileSync(file, '')
      const env = {
        ...process.env,
        FLISTFS_NODE: process.execPath,
        NODE_OPTIONS: '',
        FLISTFS_LAUNCHER: '',
        FLISTFS_RUNTIME: 'run',
      }
      const stdio: StdioOptions = [
        'ignore',
        'pipe',
        'pipe',
        'ignore',
        lock,
        lock,
        'ignore',
        'ignore',
        'ignore',
        lock,
        'ignore',
        'ignore',
        lock,
        lock,
      ]
      const child = spawn(shell, [join(dir, 'bin/flistfs'), ...words], { env, stdio })
      t.teardown(() => child.kill('SIGKILL'))
      const out = { stdout: '', stderr: '' }
      child.stdout?.on('data', (chunk) => (out.stdout += String(chunk)))
      child.stderr?.on('data', (chunk) => (out.stderr += String(chunk)))
      // 'close' comes when nobody holds the pipes: a server that kept them would be seen here.
      return { child, out, end: once(child, 'close', { signal: AbortSignal.timeout(120_000) }) }
    }
    const noted = async () => {
      for (const end = Date.now() + 120_000; Date.now() < end; await sleep(10)) {
        const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
        if (text !== '') return text
      }
      throw new Error('the program noted nothing')
    }

    await t.test('without a Node.js that is right it says so, as JSON where that is asked for', async (t) => {
      const none = { PATH: '/nowhere', FLISTFS_NODE: '', NODE_COMPILE_CACHE: '' }
      const said = (...words: string[]) =>
        spawnSync(pathOf(shell) ?? shell, [join(dir, 'bin/flistfs'), ...words], {
          env: none,
          encoding: 'utf8',
          timeout: 60_000,
        })
      t.match(said('list'), {
        status: 1,
        stdout: '',
        stderr: /^flistfs: Cannot find Node\.js.*\n {2}hint: .*FLISTFS_NODE\n$/,
      })
      const { status, stderr } = said('list', '--json')
      t.equal(status, 1)
      t.match(JSON.parse(stderr), {
        error: { code: 'FLIST_SYSTEM', message: /^Cannot find/, hint: /FLISTFS_NODE/, exit: 1 },
      })
    })

    await t.test('mount --version starts no server and leaves no holder', async (t) => {
      const { out, end } = start('mount', '--version')
      t.strictSame(await end, [0, null])
      t.equal(out.stdout, 'foreground mount')
    })

    await t.test('mount returns 0 once the server serves, and the server lets go of everything', async (t) => {
      const { out, end } = start('mount', 'serve', file)
      t.strictSame(await end, [0, null])
      t.equal(out.stdout, 'mounted')
      const [pid, supervisor, holder, ...rest] = (await noted()).split(' ')
      t.strictSame(rest, ['/', '/dev/null', '/dev/null', '/dev/null'])
      for (const one of [pid, supervisor, holder]) {
        const open = readdirSync(`/proc/${one}/fd`).map((fd) => linkOf(`/proc/${one}/fd/${fd}`))
        t.notOk(open.includes(join(dir, 'lock')), 'nobody holds a lock of who called')
      }
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
      t.ok(environment.includes(`FLISTFS_RUNTIME=${process.cwd()}/run`), 'who is in / finds what was named from here')
      t.ok(process.kill(Number(pid), 'SIGTERM'), 'the server lives on')
      for (const one of [supervisor, holder])
        for (const end = Date.now() + 120_000; isRunning(one) && Date.now() < end;) await sleep(20)
      t.notOk(isRunning(supervisor), 'its supervisor ends with it')
      t.notOk(isRunning(holder), 'and leaves no holder')
    })

    await t.test('mount gives the code and the message of a server that cannot', async (t) => {
      const { out, end } = start('mount', 'fail')
      t.strictSame(await end, [11, null])
      t.equal(out.stderr, 'no such thing')
    })

    await t.test('mount gives 1 for a crash at start', async (t) => {
      const { out, end } = start('--json', 'mount', 'crash')
      t.strictSame(await end, [1, null])
      t.match(out.stderr, 'broken at start')
    })

    await t.test('mount gives 137 for a server that was killed', async (t) => {
      t.strictSame(await start('mount', 'kill').end, [137, null])
    })

    await t.test('a signal while waiting ends the server too, and its code is given', async (t) => {
      for (const [signal, how, code] of [
        ['SIGINT', 'wait', 130],
        ['SIGTERM', 'own-code', 7],
      ] as const) {
        const { child, end } = start('mount', how, file)
        const pid = Number(await noted())
        writeFileSync(file, '')
        child.kill(signal)
        t.strictSame(await end, [code, null])
        t.equal(await noted(), 'SIGHUP')
        t.throws(() => process.kill(pid, 0), 'the server is gone')
      }
    })

    await t.test('other verbs, --foreground and --help stay in the foreground', async (t) => {
      for (const words of [
        ['list'],
        ['mount', '--foreground'],
        ['mount', 'x', '-f'],
        ['mount', '--help'],
        ['--json', 'umount', 'mount'],
      ]) {
        const { out, end } = start(...words)
        t.strictSame(await end, [0, null])
        t.match(out.stdout, 'foreground', words.join(' '))
      }
    })
  })
}

/** One that nobody has waited for yet does not run. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    // A descriptor that was closed meanwhile.
    return ''
  }
}

function isRunning(pid: string | undefined): boolean {
  try {
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}

function pathOf(shell: string): string | undefined {
  const places = (process.env['PATH'] ?? '').split(':').map((dir) => join(dir, shell))
  return places.find((place) => existsSync(place))
}
