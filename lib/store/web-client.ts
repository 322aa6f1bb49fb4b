import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import { FlistError, LIMITS, systemCode } from '../base/index.ts'
import { openDispatcher, proxyHint } from './dispatcher.ts'
import { isProxyDenied, networkReason } from './network-reason.ts'
import {
  abortError,
  DENIED_HINT,
  MOVED_HINT,
  PROTOCOL_HINT,
  RetryAfter,
  storeError,
  UNREACHABLE_HINT,
} from './store-errors.ts'
import { isTlsCode, tlsError } from './tls-errors.ts'
import type { Tls } from './tls-files.ts'

/** Bytes of an answer nobody wants that are read: to keep its connection, or to learn why. */
const DUMP_BYTES_MAX = 64 * 1024
const RETRY_AFTER_DEFAULT_MS = 1000

/** An answer that is no block. */
export interface Refused {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** The first bytes of the body, as Latin-1. */
  readonly text: string
}

/** Requests for blocks over HTTP, as every web store needs them. */
export class WebClient {
  readonly #name: string
  readonly #timeoutMs: number
  #tls: Tls | undefined
  readonly #readTls: (known: string) => Promise<Tls | undefined>
  #dispatcher: Promise<Dispatcher> | undefined
  #closed = false

  private constructor(
    name: string,
    timeoutMs: number,
    tls: Tls | undefined,
    readTls: (known: string) => Promise<Tls | undefined>,
  ) {
    this.#name = name
    this.#timeoutMs = timeoutMs
    this.#tls = tls
    this.#readTls = readTls
  }

  /**
   * `name` is the store's, without secrets. `readTls` is asked where TLS fails, for others than those whose digest it is told: certificates
   * in files are replaced now and then. Loads the HTTP client, connects nowhere. Throws FLIST_USAGE where a proxy is no URL.
   */
  static async open(
    name: string,
    timeoutMs: number,
    tls?: Tls,
    readTls: (known: string) => Promise<Tls | undefined> = () => Promise.resolve(undefined),
  ): Promise<WebClient> {
    const client = new WebClient(name, timeoutMs, tls, readTls)
    await client.#open()
    return client
  }

  /**
   * The body of an answer 200, whole; else what came instead. Redirects are not followed. Throws FLIST_STORE_*, and
   * FLIST_INTERRUPTED (or the signal's coded reason) when `signal` aborts.
   */
  async get(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<Buffer | Refused> {
    if (signal.aborted) throw abortError(signal, this.#name)
    try {
      const { pathname, search, origin } = url
      const answer = await this.#request({ origin, path: pathname + search, method: 'GET', headers, signal })
      if (answer.statusCode === 200) return await this.#body(answer)
      return { status: answer.statusCode, headers: answer.headers, text: await shortText(answer) }
    } catch (error) {
      if (signal.aborted) throw abortError(signal, this.#name)
      throw error instanceof FlistError ? error : unreachable(this.#name, error, url.protocol === 'https:')
    }
  }

  /** Any other request; its answer, of which the first bytes are kept. Redirects are not followed. Throws as `get`. */
  async send(
    method: 'HEAD' | 'PUT' | 'POST',
    url: URL,
    headers: Record<string, string>,
    body: Buffer | undefined,
    signal: AbortSignal,
  ): Promise<Refused> {
    if (signal.aborted) throw abortError(signal, this.#name)
    try {
      const { pathname, search, origin } = url
      const request = { origin, path: pathname + search, method, headers, body: body ?? null, signal }
      const answer = await this.#request(request)
      return { status: answer.statusCode, headers: answer.headers, text: await shortText(answer) }
    } catch (error) {
      if (signal.aborted) throw abortError(signal, this.#name)
      throw error instanceof FlistError ? error : unreachable(this.#name, error, url.protocol === 'https:')
    }
  }

  /** The error of an answer that is neither a block nor "not here". */
  refusal({ status, headers }: Refused): FlistError {
    const name = this.#name
    const why = `it answered with status ${status}`
    if (status === 401 || status === 403) return storeError('FLIST_STORE_DENIED', name, why, DENIED_HINT)
    if (status === 429 || status === 503) {
      const cause = new RetryAfter(why, retryAfterMs(oneHeader(headers, 'retry-after')))
      return storeError('FLIST_STORE_UNREACHABLE', name, why, UNREACHABLE_HINT, cause)
    }
    if (status >= 500 || status === 408) return storeError('FLIST_STORE_UNREACHABLE', name, why, UNREACHABLE_HINT)
    const elsewhere = redirectOrigin(headers)
    if (status >= 300 && status < 400 && elsewhere !== undefined)
      return storeError('FLIST_STORE_PROTOCOL', name, `it redirects to "${elsewhere}"`, MOVED_HINT)
    return storeError('FLIST_STORE_PROTOCOL', name, why, PROTOCOL_HINT)
  }

  async close(): Promise<void> {
    this.#closed = true
    const dispatcher = await this.#dispatcher?.catch(() => undefined)
    await dispatcher?.destroy()
  }

  #open(): Promise<Dispatcher> {
    if (this.#closed)
      return Promise.reject(storeError('FLIST_STORE_UNREACHABLE', this.#name, 'it was closed', UNREACHABLE_HINT))
    this.#dispatcher ??= openDispatcher({ timeoutMs: this.#timeoutMs, tls: this.#tls?.context })
    return this.#dispatcher
  }

  /** Once more where TLS failed with files in whose place others are by now. */
  async #request(options: Dispatcher.RequestOptions): Promise<Dispatcher.ResponseData> {
    const dispatcher = await this.#open()
    try {
      return await dispatcher.request(options)
    } catch (error) {
      const code = systemCode(error)
      // Many servers that do not take our certificate only hang up.
      if (this.#tls === undefined || !(isTlsCode(code) || HUNG_UP.has(code))) throw error
      const other = await this.#renewed(dispatcher)
      if (other === undefined) throw error
      return await other.request(options)
    }
  }

  async #renewed(old: Dispatcher): Promise<Dispatcher | undefined> {
    // A file that is being written makes no sense yet.
    const tls = await this.#readTls(this.#tls?.digest ?? '').catch(() => undefined)
    if ((await this.#open()) !== old) return this.#open()
    if (tls === undefined) return undefined
    this.#tls = tls
    this.#dispatcher = undefined
    // What is under way there ends by itself.
    old.close().catch(() => undefined)
    return this.#open()
  }

  async #body(answer: Dispatcher.ResponseData): Promise<Buffer> {
    const encoding = oneHeader(answer.headers, 'content-encoding')
    const announced = Number(oneHeader(answer.headers, 'content-length') || '0')
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
    drop(answer)
    throw storeError('FLIST_STORE_PROTOCOL', this.#name, why, PROTOCOL_HINT)
  }
}

export function oneHeader(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name]
  return (Array.isArray(value) ? value[0] : value) ?? ''
}

/** Scheme, host and port that an answer redirects to: the rest may hold secrets. Undefined where it stays on its host. */
export function redirectOrigin(headers: IncomingHttpHeaders): string | undefined {
  return URL.parse(oneHeader(headers, 'location'))?.origin
}

/** Seconds, or a date (RFC 9110 10.2.3). */
export function retryAfterMs(text: string, now: number = Date.now()): number {
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? RETRY_AFTER_DEFAULT_MS : Math.max(0, date - now)
}

/** Reads to the end where that is near, so that the connection can be used again. */
async function shortText(answer: Dispatcher.ResponseData): Promise<string> {
  let text = ''
  try {
    for await (const piece of answer.body as AsyncIterable<Buffer>) {
      text += piece.toString('latin1')
      if (text.length > DUMP_BYTES_MAX) break
    }
  } catch {
    // The status says enough; the connection is gone, the next request opens another.
  }
  return text
}

/** Ends an answer whose rest nobody wants, and its connection: it may never end by itself. */
export function drop(answer: Dispatcher.ResponseData): void {
  answer.body.on('error', () => {})
  answer.body.destroy()
}

function unreachable(name: string, error: unknown, isTls: boolean): FlistError {
  const code = systemCode(error)
  // Causes of undici may carry the request's headers, and with them secrets: only the code goes on.
  if (code === 'UND_ERR_INVALID_ARG' || isProxyDenied(error))
    return storeError('FLIST_STORE_DENIED', name, networkReason(error), isProxyDenied(error) ? PROXY_HINT : DENIED_HINT)
  if (isTlsCode(code)) return tlsError(name, code)
  if (error instanceof Error && error.name === 'HTTPParserError')
    return storeError('FLIST_STORE_PROTOCOL', name, 'it does not speak HTTP', PROTOCOL_HINT)
  const why = networkReason(error)
  // Many servers that want a certificate of ours only hang up.
  const certificate = code === 'UND_ERR_SOCKET' && isTls ? `; ${CERTIFICATE_HINT}` : ''
  return storeError('FLIST_STORE_UNREACHABLE', name, why, UNREACHABLE_HINT + certificate + proxyHint())
}

const HUNG_UP = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])
const CERTIFICATE_HINT = 'if it wants a certificate of ours, add `?cert-file=FILE&key-file=FILE`'
export const PROXY_HINT =
  'Put user and password into the URL of the proxy: check the variables http_proxy, https_proxy and no_proxy'
