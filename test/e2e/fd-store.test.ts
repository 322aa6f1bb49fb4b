import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { FLISTFS, type Lab, lacks, mountTest, PROJECT, until } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const SKIP = lacks('python3')
/** Milliseconds. */
const PATIENCE_MS = 120_000

interface Event {
  readonly message?: readonly string[]
  readonly store?: readonly string[]
  readonly started?: number
  /** The main process of the service, and how it ended. */
  readonly ended?: number
  readonly code?: number
}

/** A service whose manager keeps its descriptors, as systemd does for the unit. */
class Service {
  readonly at: string
  readonly events: Event[] = []
  readonly #lab: Lab
  readonly #orders: string

  private constructor(lab: Lab, orders: string, at: string) {
    this.#lab = lab
    this.#orders = orders
    this.at = at
  }

  /** `words` are of every start. */
  static async begin(lab: Lab, words: readonly string[], archive = SAMPLE): Promise<Service> {
    const [orders, socket, at] = [lab.path('orders'), lab.path('notify'), lab.folder('at')]
    await lab.ok('mkfifo', [orders])
    const script = join(import.meta.dirname, 'children/service-manager.py')
    const mount = [FLISTFS, 'mount', '--foreground', ...words, archive, at]
    const own = ['-u', 'FLISTFS_RUNTIME', 'python3', script, socket, orders, lab.runtime]
    const manager = lab.start('env', [...own, ...mount])
    const service = new Service(lab, orders, at)
    if (manager.stdout === null) throw new Error('no output')
    manager.stderr?.on('data', (bytes: Buffer) => appendFileSync(lab.path('log-0'), bytes))
    createInterface(manager.stdout).on('line', (line) => service.events.push(JSON.parse(line) as Event))
    await until(() => service.events.length > 0, PATIENCE_MS)
    return service
  }

  /** Starts it, and waits until it says that it is ready. */
  async start(words = ''): Promise<void> {
    this.events.length = 0
    appendFileSync(this.#orders, `start ${words}\n`)
    await until(() => this.said('READY=1') || this.ended() !== undefined, PATIENCE_MS)
    if (!this.said('READY=1')) throw new Error(`the service ended with ${this.ended()}`)
  }

  said(line: string): boolean {
    return this.events.some(({ message }) => message?.includes(line))
  }

  /** The exit code of its main process. */
  ended(): number | undefined {
    const pid = this.events.findLast(({ started }) => started !== undefined)?.started
    return this.events.find(({ ended }) => ended !== undefined && ended === pid)?.code
  }

  /** Names of what the manager keeps. */
  store(): readonly string[] {
    return this.events.findLast(({ store }) => store !== undefined)?.store ?? []
  }

  async record(): Promise<{ id: string; pid: number; connection: number; supervisor: { pid: number } }> {
    const [listed] = JSON.parse((await this.#lab.ok('sh', [FLISTFS, 'list', '--json'])) || '[]')
    return listed
  }
}

/** Stands on the mount: says what it reads through a file it opened at first, each time it is asked. */
class Witness {
  readonly #lab: Lab
  readonly #at: string
  readonly #holder: ReturnType<Lab['start']>

  constructor(lab: Lab, at: string) {
    this.#lab = lab
    this.#at = at
    const script = 'exec 5<"$0/usr/bin/bash"; cd "$0/usr/bin"; echo there; exec sleep 3600'
    this.#holder = lab.start('env', ['-u', 'FLISTFS_RUNTIME', 'sh', '-c', script, at])
  }

  async ready(): Promise<void> {
    await new Promise((done) => this.#holder.stdout?.once('data', done))
  }

  /** The sums of a file held open, and of all files by their names, with nothing in the kernel's cache. */
  async sums(): Promise<string> {
    const script = `echo 3 > /proc/sys/vm/drop_caches
      sha256sum < /proc/${this.#holder.pid}/fd/5 && ls /proc/${this.#holder.pid}/cwd/ | sha256sum &&
      cd "$0" && find . -xdev -type f -print0 | sort -z | xargs -0 sha256sum`
    return this.#lab.ok('sh', ['-c', script, this.#at], { timeoutMs: PATIENCE_MS })
  }

  async end(): Promise<void> {
    this.#holder.kill('SIGKILL')
    await until(() => this.#holder.signalCode !== null)
  }
}

const OPTIONS = { skip: SKIP, timeoutMs: 400_000 }

mountTest(
  'a mount outlives supervisor and server where a service manager keeps its device',
  OPTIONS,
  async (t, lab) => {
    const service = await Service.begin(lab, ['--log', lab.path('log-1')])
    await service.start()
    t.ok(service.said('FDPOLL=0'), 'the manager is not woken by each request')
    const first = await service.record()
    t.strictSame(service.store(), [`flistfs-${first.id}`])
    const witness = new Witness(lab, service.at)
    await witness.ready()
    const right = await witness.sums()

    await lab.killAll()
    const waiting = witness.sums()
    await service.start()
    t.equal(await waiting, right, 'who read while nobody served waited')
    t.equal(await witness.sums(), right)
    const second = await service.record()
    t.match(second, { id: first.id, connection: first.connection }, 'it is the same mount')
    t.not(second.pid, first.pid)
    t.match(lab.logs(), /another server goes on .*why="it was kept"/)

    // The device is now one that its supervisor did not open.
    process.kill(second.pid, 'SIGKILL')
    t.equal(await witness.sums(), right, 'a server that dies alone is brought back as ever')
    const upgraded = await lab.flistfs(['upgrade', service.at])
    t.match(upgraded, { code: 0 }, upgraded.stderr)
    t.equal(await witness.sums(), right)

    await lab.killAll()
    await service.start()
    t.equal(await witness.sums(), right, 'and again')
    await witness.end()
    t.match(await lab.flistfs(['umount', service.at]), { code: 0 })
    await until(() => service.ended() !== undefined, PATIENCE_MS)
    t.equal(service.ended(), 0)
    t.strictSame(service.store(), [], 'the manager keeps nothing of a mount that is gone')
  },
)

mountTest('a start takes the mount from a server that lost its supervisor, or hangs', OPTIONS, async (t, lab) => {
  const service = await Service.begin(lab, ['--log', lab.path('log-1')])
  await service.start()
  const witness = new Witness(lab, service.at)
  await witness.ready()
  const right = await witness.sums()
  for (const hangs of [false, true]) {
    const { pid, supervisor } = await service.record()
    if (hangs) process.kill(pid, 'SIGSTOP')
    process.kill(supervisor.pid, 'SIGKILL')
    await until(() => service.ended() !== undefined, PATIENCE_MS)
    await service.start()
    t.equal(await witness.sums(), right)
    t.notOk(lab.servers().includes(pid), 'two never serve one device')
  }
  await witness.end()
  await lab.umount({ directory: service.at })
})

mountTest('a restart goes on with the mount under the words of now', OPTIONS, async (t, lab) => {
  const service = await Service.begin(lab, [])
  await service.start(`--log ${lab.path('log-1')}`)
  const witness = new Witness(lab, service.at)
  await witness.ready()
  const right = await witness.sums()
  const before = await service.record()
  // As ExecStop does for a restart.
  process.kill(before.supervisor.pid, 'SIGQUIT')
  await until(() => service.ended() !== undefined, PATIENCE_MS)
  t.equal(service.ended(), 0, 'a service that is left has not failed')
  await until(() => lab.servers().length === 0, PATIENCE_MS)
  await service.start(`--log ${lab.path('log-2')} --log-level debug`)
  t.equal(await witness.sums(), right)
  t.match(await service.record(), { id: before.id })
  t.match(
    await lab.ok('cat', [lab.path('log-2')]),
    /another server goes on/,
    'what can be changed is as it is wanted now',
  )

  const server = await service.record()
  process.kill(server.supervisor.pid, 'SIGQUIT')
  await until(() => service.ended() !== undefined, PATIENCE_MS)
  await service.start(`--log ${lab.path('log-3')} --noexec`)
  t.not((await service.record()).id, before.id, 'what cannot is mounted anew')
  t.match(await lab.ok('findmnt', ['-n', '-o', 'OPTIONS', service.at]), /noexec/)
  t.match(await lab.ok('cat', [join(service.at, 'etc/debian_version')]), /^12/)
  t.equal(service.store().length, 1, 'only the new device is kept')
  await witness.end()
  await lab.umount({ directory: service.at })
})

mountTest('a kept mount goes on as it was where its archive is away', OPTIONS, async (t, lab) => {
  const archive = lab.path('moved.fl')
  await lab.ok('cp', [SAMPLE, archive])
  await lab.ok('ln', ['-s', join(PROJECT, 'fixtures/sample/store'), lab.path('store')])
  const service = await Service.begin(lab, ['--log', lab.path('log-1')], archive)
  await service.start()
  const witness = new Witness(lab, service.at)
  await witness.ready()
  const right = await witness.sums()
  await lab.ok('mv', [archive, `${archive}.away`])
  await lab.killAll()
  await service.start()
  t.equal(await witness.sums(), right)
  await witness.end()
  await lab.umount({ directory: service.at })
})

mountTest('a writable mount is kept with its changes', OPTIONS, async (t, lab) => {
  const service = await Service.begin(lab, ['--log', lab.path('log-1'), '--upper', lab.path('changes')])
  await service.start()
  await lab.ok('sh', ['-c', 'echo one > "$0/root/note"; rm "$0/etc/bash.bashrc"', service.at])
  await lab.killAll()
  await service.start()
  t.equal(await lab.ok('cat', [join(service.at, 'root/note')]), 'one\n')
  t.equal((await lab.run('cat', [join(service.at, 'etc/bash.bashrc')])).code, 1)
  t.match(await lab.ok('cat', [join(service.at, 'etc/debian_version')]), /^12/)
  await lab.umount({ directory: service.at })
})

mountTest('what was unmounted meanwhile is mounted anew', OPTIONS, async (t, lab) => {
  const service = await Service.begin(lab, ['--log', lab.path('log-1')])
  await service.start()
  const before = await service.record()
  await lab.killAll()
  await lab.umount({ directory: service.at })
  await service.start()
  const now = await service.record()
  t.not(now.id, before.id)
  t.match(await lab.ok('cat', [join(service.at, 'etc/debian_version')]), /^12/)
  t.strictSame(service.store(), [`flistfs-${now.id}`])
  await lab.umount({ directory: service.at })
})
