import { type ChildProcess, execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls, createServer as createTls, type TLSSocket } from 'node:tls'
import type { Test } from 'tap'
import { NO_REGISTRY, startRegistry } from '../../oci/docker-registry.ts'
import { ACCESS, NO_S3, SECRET, startGateway } from '../../store/versitygw.ts'
import { type Done, FLISTFS, type Lab, PROJECT, type RunOptions, until } from '../mounted.ts'
import { zdbServer } from './zdb-server.ts'

/** Every name of a host in the examples; all are here. Servers of the same name are told apart by port. */
const HOSTS = ['a', 'b', 'hub', 's3', 'mirror', 'registry'].map((name) => `${name}.example.org`)
const PUBLIC = ['registry-1.docker.io', 'hub.grid.tf']
/** Files that examples name, below the folder they run in. */
const ARCHIVES = ['debian.fl', 'debian-12.fl', 'debian-13.fl', 'app.fl', 'app-1.fl', 'base.fl', 'app.flist']
/** What `setup` writes into the system is thrown away with the namespace. */
const OVERLAYS = ['etc', 'usr']
  .map((name) => {
    const [upper, work] = [`"$0/over/${name}"`, `"$0/over/${name}-work"`]
    return `mkdir ${upper} ${work} && mount -t overlay overlay -o lowerdir=/${name},upperdir=${upper},workdir=${work} /${name}`
  })
  .join(' && ')
const SAMPLE = join(PROJECT, 'fixtures/sample')

/** What cannot be made here, or undefined. */
export interface Missing {
  readonly s3: string | false
  readonly registry: string | false
}

/**
 * A machine as the examples of `--help` suppose it, in a mount namespace: /mnt and /srv are folders of the lab, what is written into
 * /etc and /usr is thrown away, hosts of example.org are on loopback with the ports that they have in the examples, and the folder has the
 * archives they name.
 */
export class World {
  readonly missing: Missing = { s3: NO_S3, registry: NO_REGISTRY }
  readonly #lab: Lab
  readonly #holder: ChildProcess
  readonly #env: Readonly<Record<string, string>>

  private constructor(lab: Lab, holder: ChildProcess, env: Readonly<Record<string, string>>) {
    this.#lab = lab
    this.#holder = holder
    this.#env = env
  }

  /** `lines`: what will be run; servers that none of them asks are not started. */
  static async open(t: Test, lab: Lab, lines: string): Promise<World> {
    const address = `127.${1 + (process.pid % 250)}.${1 + (Date.now() % 250)}.1`
    for (const name of ['bin', 'here', 'mnt/debian', 'mnt/ubuntu', 'mnt/app', 'srv', 'over', 'certificates'])
      lab.folder(name)
    symlinkSync(FLISTFS, lab.path('bin/flistfs'))
    fillFolders(lab)
    makeCertificate(lab.path('certificates'), [...HOSTS, ...PUBLIC])
    writeFileSync(
      lab.path('hosts'),
      `127.0.0.1 localhost\n${[...HOSTS, ...PUBLIC].map((host) => `${address} ${host}\n`).join('')}`,
    )
    await startServers(t, lab, address, lines)
    const script = `mount -t tmpfs none "$0/over" && ${OVERLAYS} && mount --bind "$0/mnt" /mnt && mount --bind "$0/srv" /srv && mount --bind "$0/hosts" /etc/hosts && echo ready && exec sleep 3600`
    const holder = lab.start('unshare', ['--mount', '--propagation', 'slave', 'sh', '-c', script, lab.dir])
    let said = ''
    holder.stdout?.on('data', (bytes: Buffer) => (said += bytes.toString()))
    holder.stderr?.on('data', (bytes: Buffer) => (said += bytes.toString()))
    await until(() => said.includes('ready') || holder.exitCode !== null)
    if (!said.includes('ready')) throw new Error(`no namespace of mounts: ${said}`)
    return new World(lab, holder, {
      PATH: `${lab.path('bin')}:${process.env['PATH']}`,
      HOME: lab.folder('home'),
      FLISTFS_CA_FILE: lab.path('certificates/certificate'),
      AWS_ACCESS_KEY_ID: ACCESS,
      AWS_SECRET_ACCESS_KEY: SECRET,
    })
  }

  /** Runs a line as a person types it. */
  run(line: string, options: RunOptions = {}): Promise<Done> {
    return this.#lab.run('nsenter', this.#words(line), this.#options(options))
  }

  /** A line that stays; its process is what Ctrl-C reaches. */
  start(line: string): ChildProcess {
    return this.#lab.start('nsenter', this.#words(`exec ${line}`), this.#options({}))
  }

  /** Ends what an example has left mounted. */
  async tidy(): Promise<void> {
    const { stdout } = await this.run('flistfs list --json')
    for (const { directory } of JSON.parse(stdout.toString()) as { directory: string }[])
      await this.run(`flistfs umount --force ${directory}`)
  }

  #words(line: string): string[] {
    return ['--target', String(this.#holder.pid), '--mount', `--wd=${this.#lab.path('here')}`, 'sh', '-c', line]
  }

  #options(options: RunOptions): RunOptions {
    return { ...options, env: { ...this.#env, ...options.env } }
  }
}

/** The archives, a tree, and stores as folders. */
function fillFolders(lab: Lab): void {
  const here = lab.path('here')
  cpSync(SAMPLE, here, { recursive: true })
  for (const name of ARCHIVES) cpSync(join(SAMPLE, 'debian.fl'), join(here, name))
  cpSync(join(SAMPLE, 'store'), lab.path('srv/blocks'), { recursive: true })
  writeFileSync(join(here, 'motd'), 'hello\n')
  mkdirSync(lab.path('srv/image/etc'), { recursive: true })
  writeFileSync(lab.path('srv/image/etc/motd'), 'hello\n')
  writeFileSync(lab.path('srv/image/build.log'), 'not wanted\n')
}

/** One certificate for all, which signs itself. */
function makeCertificate(folder: string, hosts: readonly string[]): void {
  const names = hosts.map((host) => `DNS:${host}`).join(',')
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'key']
  const words = ['req', '-x509', ...key, '-subj', '/CN=examples', '-addext', `subjectAltName=${names}`, '-days', '3']
  execFileSync('openssl', [...words, '-out', 'certificate'], { cwd: folder, stdio: 'ignore', timeout: 120_000 })
}

async function startServers(t: Test, lab: Lab, address: string, lines: string): Promise<void> {
  const web = createServer(({ url = '' }, response) => {
    const blocks = new Map(readdirSync(join(SAMPLE, 'store')).map((name) => [name, join(SAMPLE, 'store', name)]))
    const name = url.split('/').at(-1) ?? ''
    if (/\.(?:fl|flist)$/.test(name)) return response.end(readFileSync(join(SAMPLE, 'debian.fl')))
    const folder = blocks.get(name.slice(0, 2))
    if (folder === undefined || !readdirSync(folder).includes(name)) return response.writeHead(404).end()
    return response.end(readFileSync(join(folder, name)))
  })
  await listen(t, web, address, 80)
  const behind = new Map<string, { port: number; secure: boolean }>()
  if (NO_S3 === false && lines.includes('s3s://')) {
    const { host } = await startGateway(t, '127.0.0.1')
    for (const name of ['s3.example.org', 'mirror.example.org']) behind.set(name, { port: portOf(host), secure: false })
  }
  if (NO_REGISTRY === false && /convert|registry/.test(lines)) {
    const { host } = await startRegistry(t, 'registry', { address: '127.0.0.1', open: true })
    for (const name of ['registry.example.org', 'registry-1.docker.io'])
      behind.set(name, { port: portOf(host), secure: true })
  }
  const [key, cert] = ['key', 'certificate'].map((name) => readFileSync(lab.path(`certificates/${name}`)))
  const secure = createTls({ key, cert, ALPNProtocols: ['http/1.1'] }, (socket: TLSSocket) => {
    const target = behind.get(String((socket as { servername?: unknown }).servername))
    if (target === undefined) return void web.emit('connection', socket)
    const at = { port: target.port, host: '127.0.0.1' }
    // A registry that is asked without TLS sends its clients to http://.
    const to = target.secure ? connectTls({ ...at, rejectUnauthorized: false }) : connect(at)
    socket.on('error', () => to.destroy()).pipe(to)
    to.on('error', () => socket.destroy()).pipe(socket)
  })
  await listen(t, secure, address, 443)
  await listen(t, zdbServer(), address, 9900)
}

function portOf(host: string): number {
  return Number(host.split(':').at(-1))
}

async function listen(t: Test, server: Server, address: string, port: number): Promise<void> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => undefined)))
  await new Promise<void>((done, fail) => server.once('error', fail).listen(port, address, done))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
}
