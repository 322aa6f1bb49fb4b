import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect, type NetConnectOpts, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { quietPort } from '../server-program.ts'

/** Milliseconds a server may take to start, and one PING. */
const START_MS = 120_000
const PING_MS = 60_000
const TRIES = 5
/** Why tests of a redis server cannot run here, or false. */
export const NO_REDIS = !hasRedis() && 'redis-server is not installed: apt-get install redis-server'

function hasRedis(): boolean {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore', timeout: 120_000 })
    return true
  } catch {
    return false
  }
}

export interface Redis {
  readonly port: number
  readonly socket: string
  stop(): Promise<void>
}

/** A real server on 127.0.0.1, ::1 and a unix socket; ready when this returns. */
export async function startRedis(t: Test, options: readonly string[] = [], wantedPort?: number): Promise<Redis> {
  // t.testdir() is longer than a socket's address may be.
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-redis-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  for (let tried = 1; ; tried += 1) {
    try {
      return await start(t, dir, options, wantedPort ?? (await quietPort('127.0.0.1', '::1')))
    } catch (error) {
      // Another test may have taken the port meanwhile, on any of the addresses.
      if (tried === TRIES) throw error
    }
  }
}

async function start(t: Test, dir: string, options: readonly string[], port: number): Promise<Redis> {
  const socket = `${dir}/redis.sock`
  const place = ['--port', String(port), '--bind', '127.0.0.1', '::1', '--unixsocket', socket, '--dir', dir]
  const child = spawn('redis-server', [...place, '--save', '', '--appendonly', 'no', ...options], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.on('data', (text: Buffer) => (said += text.toString('utf8')))
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  t.teardown(stop)
  const end = performance.now() + START_MS
  while (!(await answers({ host: '127.0.0.1', port })) || !(await answers({ path: socket }))) {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`redis-server ended at once: ${said}`)
    if (performance.now() > end) throw new Error(`redis-server does not answer after ${START_MS} ms: ${said}`)
    await sleep(50)
  }
  return { port, socket, stop }
}

/** Whether a server answers PING, be it with "first tell me the password". */
async function answers(to: NetConnectOpts): Promise<boolean> {
  const socket = connect(to)
  try {
    return await new Promise<boolean>((resolve) => {
      socket.setTimeout(PING_MS, () => resolve(false))
      socket.on('error', () => resolve(false))
      socket.on('close', () => resolve(false))
      socket.on('data', () => resolve(true))
      socket.write('PING\r\n')
    })
  } finally {
    socket.destroy()
  }
}

export async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return address !== null && typeof address === 'object' ? address.port : 0
}
