import { spawn } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'

const PROGRAM = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'flistfs-test/bin/versitygw')

/** Why tests that need an S3 server which checks signatures cannot run here, or false. `test/setup.sh` installs it. */
export const NO_S3: string | false = !existsSync(PROGRAM) && 'needs versitygw: sh test/setup.sh, with Go installed'

export const ACCESS = 'access-key'
/** With characters that a URL must encode. */
export const SECRET = 'hunter2/s3+cr%3Det'

export interface Gateway {
  readonly host: string
  /** Objects are files here: <bucket>/<key>. */
  readonly dir: string
}

/** An S3 server on `address`, that checks signatures. */
export async function startGateway(t: Test, address = '::1', words: readonly string[] = []): Promise<Gateway> {
  const dir = t.testdir({ gateway: {}, home: {} })
  const root = join(dir, 'gateway')
  mkdirSync(join(root, 'blocks'), { recursive: true })
  const port = await freePort(address)
  const host = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  const child = spawn(PROGRAM, ['--port', host, '--quiet', ...words, 'posix', root], {
    stdio: 'ignore',
    env: { HOME: join(dir, 'home'), ROOT_ACCESS_KEY: ACCESS, ROOT_SECRET_KEY: SECRET, PATH: process.env['PATH'] },
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const end = Date.now() + 120_000
  while (!(await answers(address, port))) {
    if (child.exitCode !== null) throw new Error(`versitygw ended with ${child.exitCode}`)
    if (Date.now() > end) throw new Error('versitygw does not listen')
    await sleep(20)
  }
  return { host, dir: root }
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
