import { createReadStream, statSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'

/**
 * slow-link.ts FOLDER DELAY_MS BYTES_PER_SECOND: serves a folder over HTTP behind a link that all connections share. Each
 * way takes DELAY_MS; what comes from the server is sent no faster than the link. Prints its port, serves until killed.
 */
const [folder, delayText, rateText] = process.argv.slice(2)
if (folder === undefined || delayText === undefined || rateText === undefined) throw new RangeError('too few words')
const delayMs = Number(delayText)
const bytesPerMs = Number(rateText) / 1000
/** Bytes of one connection that may be on the link: a window that lets one connection alone fill it. */
const WINDOW_BYTES = 1024 * 1024

const files = createHttpServer((request, response) => {
  const path = join(folder, decodeURIComponent(request.url ?? '/'))
  const size = statSync(path, { throwIfNoEntry: false })?.size
  if (size === undefined) {
    response.writeHead(404).end()
    return
  }
  response.writeHead(200, { 'content-length': size })
  createReadStream(path).pipe(response)
})

/** When the last byte that was sent leaves the link. */
let freeAt = 0

/** Hands things on in their order, each when its time has come. */
class Delay {
  readonly #queue: { due: number; deliver: () => void }[] = []
  #armed = false

  push(due: number, deliver: () => void): void {
    this.#queue.push({ due, deliver })
    this.#arm()
  }

  #arm(): void {
    const [head] = this.#queue
    if (head === undefined || this.#armed) return
    this.#armed = true
    setTimeout(() => this.#deliver(), Math.max(0, head.due - performance.now()))
  }

  #deliver(): void {
    this.#armed = false
    for (let [head] = this.#queue; head !== undefined && head.due <= performance.now(); [head] = this.#queue) {
      this.#queue.shift()
      head.deliver()
    }
    this.#arm()
  }
}

function joinByLink(client: Socket, server: Socket): void {
  const there = new Delay()
  const back = new Delay()
  let inFlight = 0
  client.setNoDelay(true)
  server.setNoDelay(true)
  client.on('data', (bytes) => there.push(performance.now() + delayMs, () => server.write(bytes)))
  server.on('data', (bytes) => {
    freeAt = Math.max(freeAt, performance.now()) + bytes.length / bytesPerMs
    inFlight += bytes.length
    if (inFlight > WINDOW_BYTES) server.pause()
    back.push(freeAt + delayMs, () => {
      inFlight -= bytes.length
      if (inFlight <= WINDOW_BYTES) server.resume()
      client.write(bytes)
    })
  })
  server.on('close', () => back.push(performance.now() + delayMs, () => client.destroy()))
  client.on('close', () => server.destroy())
  client.on('error', () => server.destroy())
  server.on('error', () => client.destroy())
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}

const filesPort = await listen(files)
const link = createServer((client) => joinByLink(client, connect(filesPort, '127.0.0.1')))
console.log(await listen(link))
