import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'

/** Milliseconds a server may take to start, on a slow machine that does other things too. */
const START_MS = 120_000
/** `st` of a socket that listens, in /proc/net/tcp. */
const LISTENS = '0A'

/** Below it are ports of services with a name. */
const LOWEST_PORT = 10_000
const PORTS_TRIED = 1000

export interface ServerProgram {
  readonly port: number
  /** What it has printed. */
  readonly log: () => string
  readonly stop: () => Promise<void>
}

/**
 * Starts a server that was told to listen on port 0, and tells which one the kernel gave it: a port that is looked for beforehand may be
 * another's by the time it is used. It is ended with the test; its variables are `env`, PATH and TMPDIR.
 */
export async function startServer(
  t: Pick<Test, 'teardown'>,
  command: string,
  words: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<ServerProgram> {
  const { PATH = '', TMPDIR = '/tmp' } = process.env
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH, TMPDIR, ...env } })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (said += piece.toString()))
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL')
    await ended
  }
  t.teardown(stop)
  for (const late = performance.now() + START_MS; performance.now() < late; await sleep(20)) {
    const port = portOf(child)
    if (port !== undefined) return { port, log: () => said, stop }
    if (child.exitCode !== null || child.signalCode !== null) break
  }
  throw new Error(`${command} does not listen: ${said}`)
}

/** The port that this process listens on. */
function portOf({ pid }: ChildProcess): number | undefined {
  try {
    const own = new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)))
    const lines = ['tcp', 'tcp6'].flatMap((name) => readFileSync(`/proc/${pid}/net/${name}`, 'utf8').split('\n'))
    for (const line of lines) {
      const [, local = '', , state, , , , , , inode] = line.trim().split(/ +/)
      if (state === LISTENS && own.has(`socket:[${inode}]`)) return Number.parseInt(local.split(':')[1] ?? '', 16)
    }
  } catch {
    // It has ended, or a descriptor was closed meanwhile.
  }
  return undefined
}

/**
 * A port for a server that cannot be told 0. The kernel gives it to nobody else by itself, be it to listen or to connect from; who calls this
 * tries again when the server says that it is in use.
 */
export async function quietPort(...addresses: readonly string[]): Promise<number> {
  const first = Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s+/)[0])
  const above = first > 2 * LOWEST_PORT ? first : 32_768
  for (let tried = 0; tried < PORTS_TRIED; tried += 1) {
    const port = LOWEST_PORT + Math.floor(Math.random() * (above - LOWEST_PORT))
    const free = await Promise.all(addresses.map((address) => isFree(address, port)))
    if (free.every(Boolean)) return port
  }
  throw new Error(`no port is free on ${addresses.join(' and ')}`)
}

function isFree(address: string, port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, address, () => server.close(() => resolve(true)))
  })
}
