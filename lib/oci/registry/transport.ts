import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { FlistError, LIMITS, untilAbort } from '../../base/index.ts'
import { connectionError, registryError, speaksNoTls } from './registry-errors.ts'
import { registryTls } from './tls.ts'

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array | Readable | undefined
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: AsyncIterable<Buffer>
  /** Gives up what was not read. */
  drop(): void
}

/** HTTP to registries: connections, TLS files by host, proxies of the environment. Redirects are the caller's. */
export class Transport {
  readonly #dispatchers = new Map<string, Promise<Dispatcher>>()
  #closed = false

  /** One request. Throws FLIST_STORE_UNREACHABLE and its like, with MayPass as cause where it may pass. */
  async send(request: HttpRequest, signal: AbortSignal): Promise<HttpAnswer> {
    const { url, method, headers, body } = request
    signal.throwIfAborted()
    const dispatcher = await this.#dispatcher(url)
    try {
      const path = url.pathname + url.search
      const asked = dispatcher.request({ origin: url.origin, path, method, headers, body: body ?? null, signal })
      // Undici hears of the signal only when it is connected.
      const answer = await untilAbort(asked, signal, () => asError(signal.reason), drop)
      return {
        status: answer.statusCode,
        headers: answer.headers,
        body: this.#body(answer, url.host, signal),
        drop: () => drop(answer),
      }
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof FlistError) throw error
      if (speaksNoTls(error)) throw new NoTls(connectionError(url.host, error))
      throw connectionError(url.host, error)
    }
  }

  /** Ends all connections. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    const dispatchers = await Promise.allSettled(this.#dispatchers.values())
    for (const one of dispatchers) if (one.status === 'fulfilled') await one.value.destroy()
  }

  async *#body(answer: Dispatcher.ResponseData, host: string, signal: AbortSignal): AsyncGenerator<Buffer> {
    try {
      yield* answer.body as AsyncIterable<Buffer>
    } catch (error) {
      if (signal.aborted) throw error
      throw connectionError(host, error)
    }
  }

  #dispatcher(url: URL): Promise<Dispatcher> {
    if (this.#closed) throw registryError('FLIST_STORE_UNREACHABLE', url.host, 'it was closed')
    let dispatcher = this.#dispatchers.get(url.origin)
    if (dispatcher === undefined) this.#dispatchers.set(url.origin, (dispatcher = openDispatcher(url)))
    return dispatcher
  }
}

function drop(answer: Dispatcher.ResponseData): void {
  answer.body.on('error', () => {})
  answer.body.destroy()
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason))
}

/** The peer answers, but not in TLS. */
export class NoTls extends Error {
  override readonly name = 'NoTls'
  readonly told: FlistError

  constructor(told: FlistError) {
    super(told.message)
    this.told = told
  }
}

async function openDispatcher(url: URL): Promise<Dispatcher> {
  const secureContext = url.protocol === 'https:' ? await registryTls(url.host) : undefined
  const { Agent, EnvHttpProxyAgent } = await import('undici')
  const timeout = LIMITS.registryTimeoutMs
  const connect = { timeout: LIMITS.tryTimeoutMs, ...(secureContext === undefined ? {} : { secureContext }) }
  const options = { connect, headersTimeout: timeout, bodyTimeout: timeout, pipelining: 1 }
  const hasProxy = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'].some((name) => process.env[name])
  if (!hasProxy) return new Agent(options)
  try {
    return new EnvHttpProxyAgent({ ...options, requestTls: connect, proxyTls: connect })
  } catch {
    // The message would tell the proxy's password.
    throw new FlistError('FLIST_USAGE', 'Cannot use the proxy of the environment: it is no http or https URL', {
      hint: 'Write it as http://HOST:PORT in http_proxy and https_proxy',
    })
  }
}

export function header(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name]
  return (Array.isArray(value) ? value[0] : value) ?? ''
}

/** The whole of a small body. Throws FLIST_STORE_PROTOCOL above `bytesMax`, FLIST_STORE_UNREACHABLE where it comes too slowly. */
export async function readBody(
  answer: HttpAnswer,
  bytesMax: number,
  host: string,
  deadlineMs: number = LIMITS.registrySmallAnswerMs,
): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  let isLate = false
  // A byte now and then is never late for the connection.
  const timer = setTimeout(() => {
    isLate = true
    answer.drop()
  }, deadlineMs)
  try {
    for await (const piece of answer.body) {
      bytes += piece.length
      if (bytes > bytesMax) {
        answer.drop()
        throw registryError('FLIST_STORE_PROTOCOL', host, `an answer has more than ${bytesMax} bytes`)
      }
      pieces.push(piece)
    }
    return Buffer.concat(pieces)
  } catch (error) {
    if (isLate) throw registryError('FLIST_STORE_UNREACHABLE', host, 'an answer did not end in time')
    throw error
  } finally {
    clearTimeout(timer)
  }
}
