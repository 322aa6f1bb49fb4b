import { chmodSync, lstatSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { connect } from 'node:net'
import { describeError, FlistError, systemCode } from '../base/index.ts'
import { parseMetricsAddress, type MetricsAddress } from './metrics-address.ts'

/** Milliseconds for a request to arrive, and for a connection that says nothing. */
const QUIET_MS = 5_000
const CONNECTIONS_MAX = 16

/** Serves `GET /metrics` with what `render` gives. Does not keep the process alive. Throws FLIST_USAGE, FLIST_SYSTEM. */
export async function serveMetrics(
  address: string,
  render: () => Promise<string>,
): Promise<{ readonly close: () => Promise<void> }> {
  const at = parseMetricsAddress(address)
  const server = createServer({ requestTimeout: QUIET_MS, headersTimeout: QUIET_MS }, (request, response) => {
    const found = request.url?.replace(/\?.*$/s, '') === '/metrics'
    const asked = request.method === 'GET' || request.method === 'HEAD'
    if (!found || !asked) {
      response.writeHead(found ? 405 : 404, { 'content-type': 'text/plain; charset=utf-8' })
      response.end(found ? 'Only GET is answered\n' : 'Metrics are at /metrics\n')
      return
    }
    render().then(
      (text) => {
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
        response.end(request.method === 'HEAD' ? undefined : text)
      },
      (error: unknown) => response.writeHead(500).end(`${describeError(error)}\n`),
    )
  })
  server.maxConnections = CONNECTIONS_MAX
  server.keepAliveTimeout = QUIET_MS
  await listen(server, at, address)
  server.unref()
  const close = async (): Promise<void> => {
    server.closeAllConnections()
    if (server.listening) await new Promise((resolve) => server.close(resolve))
  }
  return { close }
}

async function listen(server: Server, at: MetricsAddress, address: string): Promise<void> {
  try {
    if ('path' in at) await removeStale(at.path)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen('path' in at ? at.path : at, resolve)
    })
    // Names of archives and stores are for this user and his group.
    if ('path' in at) chmodSync(at.path, 0o660)
  } catch (cause) {
    throw new FlistError(
      'FLIST_SYSTEM',
      `Cannot serve metrics at "${address}": ${systemCode(cause) || describeError(cause)}`,
      { hint: 'Name a free port, or a socket in a folder that is there, with --metrics', cause },
    )
  }
}

/** A socket that nobody listens at was left by a server that died. Anything else is not ours to remove. */
async function removeStale(path: string): Promise<void> {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined || !stat.isSocket()) return
  const refused = await new Promise<boolean>((resolve) => {
    const socket = connect(path, () => resolve(false))
    socket.on('error', (error) => resolve(systemCode(error) === 'ECONNREFUSED'))
    socket.once('connect', () => socket.destroy())
  })
  if (refused) rmSync(path, { force: true })
}
