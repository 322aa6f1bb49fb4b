import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { isNotified, notifyManager, watchdogEveryMs } from '../../lib/system/index.ts'

/** A manager: prints each message with the content of the descriptors that came along, as JSON. */
const MANAGER = `
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind('\\0' + name[1:] if name[0] == '@' else name)
s.settimeout(300)
print('ready', flush=True)
while True:
    data, fds, flags, _ = socket.recv_fds(s, 65536, 8)
    print(json.dumps({'state': data.decode(), 'fds': [os.pread(fd, 100, 0).decode() for fd in fds]}), flush=True)
`

/** Starts a manager and gives what it hears next. */
async function manager(t: Test, name: string): Promise<() => Promise<unknown>> {
  const child = spawn('python3', ['-c', MANAGER, name], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  await once(child, 'spawn')
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  t.equal((await lines.next()).value, 'ready')
  return async () => JSON.parse(String((await lines.next()).value))
}

/** t.testdir() is longer than a socket's address may be. */
function shortDir(t: Test): string {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-notify-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  return dir
}

function setEnvironment(t: Test, fields: Readonly<Record<string, string | undefined>>): void {
  const before = { ...process.env }
  t.teardown(() => (process.env = before))
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) delete process.env[name]
    else process.env[name] = value
  }
}

t.test('notifyManager() says nothing where nobody listens', async (t) => {
  setEnvironment(t, { NOTIFY_SOCKET: undefined, WATCHDOG_USEC: '1000000' })
  t.notOk(isNotified())
  t.equal(notifyManager(['READY=1']), undefined)
  t.equal(watchdogEveryMs(), undefined)
})

t.test('notifyManager() reaches a socket by its path, and one without', { timeout: 600_000 }, async (t) => {
  for (const name of [join(shortDir(t), 'notify'), `@flistfs-test-${process.pid}`]) {
    setEnvironment(t, { NOTIFY_SOCKET: name })
    t.ok(isNotified())
    const next = await manager(t, name)
    t.equal(notifyManager(['READY=1', 'STATUS=on “/mnt”']), undefined, name)
    t.strictSame(await next(), { state: 'READY=1\nSTATUS=on “/mnt”', fds: [] })
  }
})

t.test('notifyManager() hands descriptors over', { timeout: 600_000 }, async (t) => {
  const dir = shortDir(t)
  setEnvironment(t, { NOTIFY_SOCKET: join(dir, 'notify') })
  const next = await manager(t, join(dir, 'notify'))
  const fds = ['one', 'two', 'three'].map((text) => {
    writeFileSync(join(dir, text), text)
    return openSync(join(dir, text), 'r')
  })
  t.equal(notifyManager(['FDSTORE=1', 'FDNAME=device'], fds), undefined)
  t.strictSame(await next(), { state: 'FDSTORE=1\nFDNAME=device', fds: ['one', 'two', 'three'] })
  t.equal(notifyManager(['FDSTORE=1'], fds.slice(0, 1)), undefined)
  t.strictSame(await next(), { state: 'FDSTORE=1', fds: ['one'] })
})

t.test('notifyManager() says why it is not heard', async (t) => {
  const gone = join(t.testdir(), 'gone')
  for (const [name, why] of [
    [gone, `"${gone}": ENOENT`],
    ['vsock:2:1234', '"vsock:2:1234" is no address of a unix socket'],
    [`/${'x'.repeat(120)}`, /is no address/],
  ] as const) {
    setEnvironment(t, { NOTIFY_SOCKET: name })
    t.match(notifyManager(['READY=1']), why)
  }
  setEnvironment(t, { NOTIFY_SOCKET: gone })
  t.match(notifyManager(['READY=1'], [99_999]), /EBADF|ENOENT/)
})

t.test('watchdogEveryMs() is half of what the manager waits', async (t) => {
  setEnvironment(t, { NOTIFY_SOCKET: '/x', WATCHDOG_USEC: '30000000' })
  t.equal(watchdogEveryMs(), 15_000)
  setEnvironment(t, { WATCHDOG_PID: String(process.ppid) })
  t.equal(watchdogEveryMs(), 15_000, 'the supervisor is watched')
  setEnvironment(t, { WATCHDOG_PID: '1' })
  t.equal(watchdogEveryMs(), undefined, 'somebody else is watched')
  setEnvironment(t, { WATCHDOG_PID: undefined })
  for (const value of ['', '0', 'soon', undefined]) {
    setEnvironment(t, { NOTIFY_SOCKET: '/x', WATCHDOG_USEC: value })
    t.equal(watchdogEveryMs(), undefined)
  }
})
