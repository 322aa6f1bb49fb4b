import type { IncomingHttpHeaders } from 'node:http'
import { Agent, request, type Dispatcher } from 'undici'
import { FlistError, LIMITS, systemCode } from '../base/index.ts'
import type { BlockSource } from './port.ts'
import { abortError, DENIED_HINT, PROTOCOL_HINT, RetryAfter, storeError, UNREACHABLE_HINT } from './store-errors.ts'
import type { Secrets } from './store-secret.ts'

const REDIRECTS_MAX = 5
const REDIRECTS = new Set([301, 302, 303, 307, 308])
/** Bytes of an answer nobody wants that are read to keep its connection. */
const DUMP_BYTES_MAX = 64 * 1024
const RETRY_AFTER_DEFAULT_MS = 1000
const IDLE_MS = 30_000

/** Blocks behind a web server: GET `<base>/<id[0:2]>/<id>`, then `<base>/<id>`. Redirects leave secrets behind. */
export class HttpSource implements BlockSource {
  readonly name: string
  readonly #base: URL
  /** Of `base`, without a slash at its end. */
  readonly #path: string
  readonly #authorization: string | undefined
  readonly #agent: Agent
  /** Which layout had the last block: the other one is asked second. */
  #flat = false

  constructor(name: string, base: string, secrets: Secrets, timeoutMs: number = LIMITS.tryTimeoutMs) {
    this.name = name
    this.#base = new URL(base)
    this.#path = this.#base.pathname.replace(/\/+$/, '')
    this.#authorization = authorization(secrets)
    this.#agent = new Agent({
      connections: LIMITS.connectionsPerStore,
      connect: { timeout: timeoutMs },
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      keepAliveTimeout: IDLE_MS,
      pipelining: 1,
    })
  }

  async get(id: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
    if (signal.aborted) throw abortError(signal, this.name)
    const hex = id.toString('hex')
    const first = this.#flat
    try {
      const stored = await this.#fetch(this.#url(hex, first), signal)
      if (stored !== undefined) return stored
      const other = await this.#fetch(this.#url(hex, !first), signal)
      if (other !== undefined) this.#flat = !first
      return other
    } catch (error) {
      if (signal.aborted) throw abortError(signal, this.name)
      throw error instanceof FlistError ? error : unreachable(this.name, error)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy()
  }

  #url(hex: string, flat: boolean): URL {
    const url = new URL(this.#base)
    url.pathname = flat ? `${this.#path}/${hex}` : `${this.#path}/${hex.slice(0, 2)}/${hex}`
    return url
  }

  async #fetch(start: URL, signal: AbortSignal): Promise<Buffer | undefined> {
    let url = start
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
      const answer = await request(url, { dispatcher: this.#agent, method: 'GET', headers: this.#headers(url), signal })
      if (answer.statusCode === 200) return await this.#body(answer)
      await dump(answer, signal)
      if (answer.statusCode === 404 || answer.statusCode === 410) return undefined
      if (!REDIRECTS.has(answer.statusCode)) throw this.#refusal(answer)
      url = this.#target(url, one(answer.headers, 'location'))
    }
    throw storeError('FLIST_STORE_PROTOCOL', this.name, `more than ${REDIRECTS_MAX} redirects`, PROTOCOL_HINT)
  }

  #headers(url: URL): Record<string, string> {
    const secret = this.#authorization
    return secret === undefined || url.origin !== this.#base.origin ? {} : { authorization: secret }
  }

  #target(from: URL, location: string): URL {
    const to = location === '' ? null : URL.parse(location, from.href)
    if (to !== null && (to.protocol === 'http:' || to.protocol === 'https:')) {
      to.username = ''
      to.password = ''
      return to
    }
    throw storeError('FLIST_STORE_PROTOCOL', this.name, 'a redirect leads nowhere', PROTOCOL_HINT)
  }

  async #body(answer: Dispatcher.ResponseData): Promise<Buffer> {
    const encoding = one(answer.headers, 'content-encoding')
    const announced = Number(one(answer.headers, 'content-length') || '0')
    if (encoding !== '' && encoding !== 'identity')
      this.#spoil(answer, 'it encodes blocks though nobody asked for that')
    if (announced > LIMITS.storedBlockBytesMax) this.#spoil(answer, 'a block is too large')
    const pieces: Buffer[] = []
    let bytes = 0
    for await (const piece of answer.body as AsyncIterable<Buffer>) {
      bytes += piece.length
      if (bytes > LIMITS.storedBlockBytesMax) this.#spoil(answer, 'a block is too large')
      pieces.push(piece)
    }
    if (bytes === 0) this.#spoil(answer, 'a block is empty')
    return pieces.length === 1 && pieces[0] !== undefined ? pieces[0] : Buffer.concat(pieces, bytes)
  }

  /** Drops the connection with the rest of an answer that cannot be right. */
  #spoil(answer: Dispatcher.ResponseData, why: string): never {
    answer.body.on('error', () => {})
    answer.body.destroy()
    throw storeError('FLIST_STORE_PROTOCOL', this.name, why, PROTOCOL_HINT)
  }

  #refusal(answer: Dispatcher.ResponseData): FlistError {
    const status = answer.statusCode
    const why = `it answered with status ${status}`
    if (status === 401 || status === 403) return storeError('FLIST_STORE_DENIED', this.name, why, DENIED_HINT)
    if (status === 429 || status === 503) {
      const cause = new RetryAfter(why, retryAfterMs(one(answer.headers, 'retry-after')))
      return storeError('FLIST_STORE_UNREACHABLE', this.name, why, UNREACHABLE_HINT, cause)
    }
    if (status >= 500 || status === 408) return storeError('FLIST_STORE_UNREACHABLE', this.name, why, UNREACHABLE_HINT)
    return storeError('FLIST_STORE_PROTOCOL', this.name, why, PROTOCOL_HINT)
  }
}

function authorization({ user, password, token }: Secrets): string | undefined {
  if (token !== '') return `Bearer ${token}`
  if (user === '' && password === '') return undefined
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}

function one(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name]
  return (Array.isArray(value) ? value[0] : value) ?? ''
}

/** Seconds, or a date (RFC 9110 10.2.3). */
export function retryAfterMs(text: string, now: number = Date.now()): number {
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? RETRY_AFTER_DEFAULT_MS : Math.max(0, date - now)
}

async function dump(answer: Dispatcher.ResponseData, signal: AbortSignal): Promise<void> {
  try {
    await answer.body.dump({ limit: DUMP_BYTES_MAX, signal })
  } catch {
    // The status says enough; the connection is gone, the next request opens another.
  }
}

function unreachable(name: string, error: unknown): FlistError {
  const code = systemCode(error)
  // Causes of undici may carry the request's headers, and with them secrets: only the code goes on.
  if (code === 'UND_ERR_INVALID_ARG')
    return storeError('FLIST_STORE_DENIED', name, 'the secret has characters no header may have', DENIED_HINT)
  return storeError(
    'FLIST_STORE_UNREACHABLE',
    name,
    REASONS[code] ?? (code || 'the connection broke'),
    UNREACHABLE_HINT,
  )
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there (ECONNREFUSED)',
  ENOTFOUND: 'its host is unknown (ENOTFOUND)',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the answer stalled',
  UND_ERR_SOCKET: 'the connection broke',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the answer is shorter than announced',
}
