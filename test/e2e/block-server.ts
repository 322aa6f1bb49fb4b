import { existsSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { basename, join } from 'node:path'
import type { Test } from 'tap'

/**
 * What a block server does. - `serve`: gives what it has. - `stall`: never answers. - `dead`: ends each connection.
 * - `without`: has nothing. - `corrupt`: changes one byte. - `busy`: says 503 with Retry-After: 1. - `cut`: ends in the middle of
 * each block. - `halting`: falls silent there. - `short`: gives half a block as if it were all. - `forbidden`, `broken`: 403, 500.
 */
export type Behaviour =
  'serve' | 'stall' | 'dead' | 'without' | 'corrupt' | 'busy' | 'cut' | 'halting' | 'short' | 'forbidden' | 'broken'

/** A web server with the blocks of a folder, which counts and can be told to misbehave. Runs in the test's process. */
export class BlockServer {
  readonly #store: string
  readonly #sockets = new Set<Socket>()
  readonly #server = createServer((request, response) => this.#answer(request, response))
  /** Times asked, by block. */
  readonly asked = new Map<string, number>()
  /** When each request came, milliseconds. */
  readonly times: number[] = []
  /** The Authorization header of the last request. */
  authorization: string | undefined
  behaviour: Behaviour = 'serve'
  /** Milliseconds before each answer. */
  delayMs = 0
  /** Requests that are not answered, or not yet. */
  waiting = 0

  private constructor(store: string) {
    this.#store = store
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket)
      socket.on('close', () => this.#sockets.delete(socket))
    })
  }

  static async open(t: Pick<Test, 'teardown'>, store: string): Promise<BlockServer> {
    const server = new BlockServer(store)
    await new Promise<void>((done) => server.#server.listen(0, '127.0.0.1', done))
    t.teardown(() => server.close())
    return server
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`
  }

  get requests(): number {
    return this.times.length
  }

  /** Requests that are one too many. */
  get repeated(): number {
    return this.requests - this.asked.size
  }

  forget(): void {
    this.asked.clear()
    this.times.length = 0
  }

  close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    return new Promise((done) => this.#server.close(() => done()))
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const name = basename(request.url ?? '')
    this.asked.set(name, (this.asked.get(name) ?? 0) + 1)
    this.times.push(Date.now())
    this.authorization = request.headers.authorization
    this.waiting += 1
    response.on('close', () => (this.waiting -= 1))
    if (this.delayMs > 0) setTimeout(() => this.#give(name, response), this.delayMs)
    else this.#give(name, response)
  }

  #give(name: string, response: ServerResponse): void {
    const path = join(this.#store, name.slice(0, 2), name)
    if (this.behaviour === 'stall') return
    if (this.behaviour === 'dead') response.destroy()
    else if (this.behaviour === 'busy') response.writeHead(503, { 'retry-after': '1' }).end()
    else if (this.behaviour === 'forbidden') response.writeHead(403).end()
    else if (this.behaviour === 'broken') response.writeHead(500).end('a fault')
    else if (this.behaviour === 'without' || !existsSync(path)) response.writeHead(404).end()
    else this.#send(readFileSync(path), response)
  }

  #send(bytes: Buffer, response: ServerResponse): void {
    const half = bytes.subarray(0, bytes.length >> 1)
    if (this.behaviour === 'corrupt') response.end(changed(bytes))
    else if (this.behaviour === 'short') response.end(half)
    else if (this.behaviour === 'cut' || this.behaviour === 'halting') {
      response.writeHead(200, { 'content-length': bytes.length })
      response.write(half, () => this.behaviour === 'cut' && response.destroy())
    } else response.end(bytes)
  }
}

function changed(bytes: Buffer): Buffer {
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  return bytes
}
