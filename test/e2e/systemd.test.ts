import type { ChildProcess } from 'node:child_process'
import { renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setup } from '../../lib/commands/setup.ts'
import { FLISTFS, type Lab, lacks, mountTest, PROJECT, until } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')

/** The unit as setup writes it, with an instance whose mount point has a blank. */
async function writeUnit(lab: Lab): Promise<string> {
  const launcher = [process.execPath, join(PROJECT, 'bin/flistfs.ts')]
  setup({ prefix: lab.folder('root'), zeroOs: false, remove: false }, launcher)
  const dir = lab.folder('units')
  renameSync(lab.path('root/usr/local/lib/systemd/system/flistfs@.service'), join(dir, 'flistfs@.service'))
  const instance = join(dir, 'flistfs@mnt-a\\x20b.service')
  symlinkSync('flistfs@.service', instance)
  return instance
}

mountTest('the unit is one that systemd understands', { skip: lacks('systemd-analyze') }, async (t, lab) => {
  const unit = await writeUnit(lab)
  const verify = () => lab.run('systemd-analyze', ['verify', '--man=no', unit])
  t.match(await verify(), { code: 0, stderr: '' })
  const wrong = join(lab.path('units'), 'flistfs@.service')
  writeFileSync(wrong, '[Service]\nType=notify\nExecStart=/none/flistfs mount %f\nKillMod=process\n')
  t.match(await verify(), { stderr: /KillMod/ }, 'what is wrong would be seen')
})

/** A service manager's socket: prints what comes, one JSON text a line. */
const MANAGER = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('"bound"', flush=True)
while True: print(json.dumps(s.recv(65536).decode()), flush=True)
`

interface Service {
  /** What the service manager was told so far. */
  readonly heard: string[]
  readonly at: string
  readonly service: ChildProcess
}

/** A mount in the foreground, started as systemd starts it, that has said that it is ready. */
async function startService(lab: Lab, watchdogUs: number): Promise<Service> {
  const socket = lab.path('notify')
  const manager = lab.start('env', ['-u', 'FLISTFS_RUNTIME', 'python3', '-c', MANAGER, socket])
  const heard: string[] = []
  if (manager.stdout === null) throw new Error('no output')
  createInterface(manager.stdout).on('line', (line) => heard.push(JSON.parse(line) as string))
  await until(() => heard.length > 0)
  const at = lab.folder('at')
  // systemd names the process it started: our launcher becomes the supervisor.
  const script = 'export WATCHDOG_PID=$$; exec "$0" mount --foreground -- "$1" "$2"'
  const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: String(watchdogUs) }
  const service = lab.start('sh', ['-c', script, FLISTFS, SAMPLE, at], { env })
  await until(() => heard.includes(`READY=1\nSTATUS=${SAMPLE} on ${at}`))
  return { heard, at, service }
}

async function killServer(lab: Lab): Promise<void> {
  const [listed] = JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString()) as { pid: number }[]
  process.kill(listed?.pid ?? Number.NaN, 'SIGKILL')
}

mountTest(
  'a mount in the foreground says when it is ready, and that it lives',
  { skip: lacks('python3') },
  async (t, lab) => {
    const { heard, at, service } = await startService(lab, 2_000_000)
    t.match(await lab.run('cat', [join(at, 'etc/debian_version')]), { code: 0 })
    await until(() => heard.filter((text) => text === 'WATCHDOG=1').length > 1)
    await killServer(lab)
    heard.length = 0
    await until(() => heard.includes('WATCHDOG=1'))
    t.match(await lab.run('cat', [join(at, 'etc/debian_version')]), { code: 0 }, 'the next server speaks too')
    const ended = new Promise((done) => service.once('exit', done))
    t.match(await lab.flistfs(['umount', at]), { code: 0 }, 'ExecStop')
    t.equal(await ended, 0)
  },
)

mountTest(
  'a server says that it lives when it begins: the one before it may have said so long ago',
  { skip: lacks('python3') },
  async (t, lab) => {
    // Ten hours: nothing is said in between.
    const { heard, at } = await startService(lab, 36_000_000_000)
    for (let lives = 2; lives < 4; lives += 1) {
      await killServer(lab)
      await until(() => heard.filter((text) => text === 'WATCHDOG=1').length === lives)
    }
    t.match(await lab.flistfs(['umount', at]), { code: 0 })
  },
)

mountTest('a mount goes on when its service manager cannot hear', {}, async (t, lab) => {
  const at = lab.folder('at')
  const service = lab.start(FLISTFS, ['mount', '--foreground', SAMPLE, at], {
    env: { NOTIFY_SOCKET: lab.path('none') },
  })
  let said = ''
  service.stderr?.on('data', (bytes: Buffer) => (said += bytes.toString()))
  await until(() => said !== '')
  t.match(said, /Warning: Cannot tell the service manager: ".*none": ENOENT/)
  t.match(await lab.run('cat', [join(at, 'etc/debian_version')]), { code: 0 })
  const ended = new Promise((done) => service.once('exit', done))
  service.kill('SIGTERM')
  t.equal(await ended, 0, 'a service that is stopped has not failed')
})
