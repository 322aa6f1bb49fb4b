import { execFile, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { startServer } from '../server-program.ts'
import { makeCertificates } from '../store/certificates.ts'

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
}

/** Debian's docker-registry on loopback: TLS and a password unless `plain`, `open`. */
export async function startRegistry(t: Test, name: string, wishes: RegistryWishes = {}): Promise<Registry> {
  const { address = '::1', plain = false, open = false } = wishes
  const dir = join(t.testdirName, name)
  // What an earlier run has left would be images that nobody pushed.
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(join(dir, 'data'), { recursive: true })
  const at = address.includes(':') ? `[${address}]` : address
  writeFileSync(join(dir, 'htpasswd'), `${USER}:${HASH}\n`)
  if (!plain) makeCertificates(dir)
  const tls = plain ? '' : `  tls: { certificate: ${dir}/server.pem, key: ${dir}/server.key }\n`
  const auth = open ? '' : `auth: { htpasswd: { realm: here, path: ${dir}/htpasswd } }\n`
  writeFileSync(
    join(dir, 'config.yml'),
    `version: 0.1\nlog: { level: info }\nstorage: { filesystem: { rootdirectory: ${dir}/data } }\nhttp:\n  addr: "${at}:0"\n  secret: none\n${tls}${auth}`,
  )
  const words = ['serve', join(dir, 'config.yml')]
  const { port, log } = await startServer(t, 'docker-registry', words, { HOME: dir, OTEL_TRACES_EXPORTER: 'none' })
  return { host: `${at}:${port}`, caFile: join(dir, 'ca.pem'), dir, log }
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
