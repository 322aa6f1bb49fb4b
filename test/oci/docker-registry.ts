import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'

/** Why tests that need a registry cannot run here, or false. `test/setup.sh` installs it. */
export const NO_REGISTRY: string | false =
  ['docker-registry', 'openssl'].find(
    (program) => spawnSync(program, [program === 'openssl' ? 'version' : '--version']).status !== 0,
  ) !== undefined && 'needs docker-registry and openssl: sh test/setup.sh'

export const USER = 'tester'
export const PASSWORD = 'geheim'
/** bcrypt of the password. */
const HASH = '$2b$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu'

export interface Registry {
  /** Host and port as in names of images. */
  readonly host: string
  readonly caFile: string
  /** Blobs are files below. */
  readonly dir: string
  readonly log: () => string
}

export interface RegistryWishes {
  readonly address?: string
  readonly plain?: boolean
  readonly open?: boolean
  /** It passes on what this registry has. */
  readonly mirrorOf?: string
}

/** Debian's docker-registry on loopback: TLS and a password unless `plain`, `open`. */
export async function startRegistry(t: Test, name: string, wishes: RegistryWishes = {}): Promise<Registry> {
  const { address = '::1', plain = false, open = false } = wishes
  const dir = join(t.testdirName, name)
  mkdirSync(join(dir, 'data'), { recursive: true })
  const port = await freePort(address)
  const host = `${address.includes(':') ? `[${address}]` : address}:${port}`
  writeFileSync(join(dir, 'htpasswd'), `${USER}:${HASH}\n`)
  if (!plain) makeCertificate(dir)
  const tls = plain ? '' : `  tls: { certificate: ${dir}/server.pem, key: ${dir}/server.key }\n`
  const auth = open ? '' : `auth: { htpasswd: { realm: here, path: ${dir}/htpasswd } }\n`
  writeFileSync(
    join(dir, 'config.yml'),
    `version: 0.1\nlog: { level: info }\nstorage: { filesystem: { rootdirectory: ${dir}/data } }\nhttp:\n  addr: "${host}"\n  secret: none\n${tls}${auth}`,
  )
  let log = ''
  const child = spawn('docker-registry', ['serve', join(dir, 'config.yml')], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '', HOME: dir, OTEL_TRACES_EXPORTER: 'none' },
  })
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (log += piece.toString()))
  const ended = new Promise((resolve) => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const end = Date.now() + 120_000
  while (!(await answers(address, port))) {
    if (child.exitCode !== null || Date.now() > end) throw new Error(`docker-registry does not listen: ${log}`)
    await sleep(20)
  }
  return { host, caFile: join(dir, 'ca.pem'), dir, log: () => log }
}

function makeCertificate(dir: string): void {
  const openssl = (...words: string[]): unknown => execFileSync('openssl', words, { cwd: dir, stdio: 'ignore' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test authority', '-days', '2')
  writeFileSync(join(dir, 'san'), 'subjectAltName=IP:::1,IP:127.0.0.1,DNS:localhost\n')
  openssl('req', ...key, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=server')
  const sign = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'san']
  openssl('x509', '-req', '-in', 'server.csr', '-out', 'server.pem', ...sign)
}

/** docker's record of a password. */
export function authOf(user = USER, password = PASSWORD): { auth: string } {
  return { auth: Buffer.from(`${user}:${password}`).toString('base64') }
}

export function requestsIn(registry: Registry): string[] {
  return registry
    .log()
    .split('\n')
    .flatMap((line) => /"((?:GET|HEAD|PUT|POST|PATCH) [^ ]+)/.exec(line)?.[1] ?? [])
}

export function blobOf(registry: Registry, digest: string): string {
  const hex = digest.replace('sha256:', '')
  return join(registry.dir, 'data/docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data')
}

/** skopeo knows no names with `[::1]`: gives it the registry under a name that it knows, while `work` runs. */
export async function under127<T>(registry: Registry, work: (host: string) => Promise<T>): Promise<T> {
  const port = Number(registry.host.slice(registry.host.lastIndexOf(':') + 1))
  const server = createServer((socket) => {
    const there = connect(port, '::1')
    socket.on('error', () => there.destroy())
    there.on('error', () => socket.destroy())
    socket.pipe(there).pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    return await work(`127.0.0.1:${(server.address() as AddressInfo).port}`)
  } finally {
    server.close()
  }
}

/** Runs skopeo beside this process, and gives what it printed. */
export async function skopeo(...words: string[]): Promise<string> {
  const run = promisify(execFile)
  return (await run('skopeo', ['--insecure-policy', ...words], { timeout: 600_000 })).stdout
}

function answers(address: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, address)
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
}

async function freePort(address: string): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, address, resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
