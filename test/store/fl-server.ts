import { createServer as createPlain, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createSecure } from 'node:https'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { blake2b } from 'hash-wasm'
import type { Test } from 'tap'

export interface FlServer {
  /** `[::1]:1234`. */
  readonly host: string
  readonly blocks: Map<string, Buffer>
  signIns: number
  /** Statuses given before it serves. */
  readonly first: number[]
  /** Whom it lets write. */
  token: string
  /** Something in front of it lets nobody look either who does not say who he is. */
  guarded: boolean
  /** Says that it has each block under another id. */
  lies: boolean
  /** Milliseconds before each answer. */
  delayMs: number
  /** After so many answers it says nothing more. */
  answersLeft: number
  /** Requests so far. */
  requests: number
}

/** Who may sign in. */
export const FL_USER = 'someone'

/**
 * What fl-server does with its API for blocks and its sign-in, fl-v1-rfs.md section 6, below `/base`, on ::1; with a key and a certificate,
 * over TLS.
 */
export async function startFlServer(
  t: Pick<Test, 'teardown'>,
  password: string,
  tls?: { readonly key: Buffer; readonly cert: Buffer },
): Promise<FlServer> {
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    void bodyOf(request).then(async (body) => {
      state.requests += 1
      if (state.delayMs > 0) await sleep(state.delayMs)
      if ((state.answersLeft -= 1) < 0) return
      await serve(state, password, request, response, body)
    })
  }
  const server = tls === undefined ? createPlain(answer) : createSecure(tls, answer)
  await new Promise<void>((resolve) => server.listen(0, '::1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const state: FlServer = {
    host: `[::1]:${(server.address() as AddressInfo).port}`,
    blocks: new Map(),
    signIns: 0,
    first: [],
    token: password,
    lies: false,
    guarded: false,
    delayMs: 0,
    answersLeft: Infinity,
    requests: 0,
  }
  return state
}

async function serve(
  state: FlServer,
  password: string,
  request: IncomingMessage,
  response: ServerResponse,
  body: Buffer,
): Promise<void> {
  const url = request.url ?? ''
  const status = url.startsWith('/base/api/v1/block') ? state.first.shift() : undefined
  if (status !== undefined) return void response.writeHead(status, { 'retry-after': '0' }).end()
  if (url === '/base/api/v1/signin') {
    state.signIns += 1
    const said = JSON.parse(body.toString()) as { username: string; password: string }
    if (said.username !== FL_USER || said.password !== password) return void response.writeHead(401).end()
    state.token = `token-${state.signIns}`
    return void response.writeHead(201).end(JSON.stringify({ access_token: state.token }))
  }
  if (state.guarded && request.headers.authorization !== `Bearer ${state.token}`)
    return void response.writeHead(401).end()
  if (url === '/base/api/v1/block?file_hash=&idx=0' && request.method === 'POST') {
    if (request.headers.authorization !== `Bearer ${state.token}`) return void response.writeHead(403).end('no')
    const hash = state.lies ? '00'.repeat(32) : await blake2b(body, 256)
    const isNew = !state.blocks.has(hash)
    state.blocks.set(hash, body)
    const message = 'Block processed successfully'
    return void response.writeHead(isNew ? 201 : 200).end(JSON.stringify({ hash, message }))
  }
  const found = state.blocks.get(url.replace('/base/api/v1/block/', ''))
  response.writeHead(found === undefined ? 404 : 200).end(request.method === 'HEAD' ? undefined : found)
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of request) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}
