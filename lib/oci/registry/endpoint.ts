import { setTimeout as sleep } from 'node:timers/promises'
import { describeError, FlistError, LIMITS } from '../../base/index.ts'
import { Authenticator } from './authenticator.ts'
import { mayPass, MayPass, registryError } from './registry-errors.ts'
import { header, type HttpAnswer, type HttpRequest, NoTls, type Transport } from './transport.ts'

const BACKOFF_MS = 250
const SENT_AWAY = 'Try again, and report it to who runs the registry'

export interface EndpointPlace {
  /** Host and port as in names. */
  readonly host: string
  /** Path of the repository there. */
  readonly repository: string
  /** The name credentials are looked up by. */
  readonly registry: string
  /** `either`: TLS, and without where the host speaks none. */
  readonly scheme: 'https' | 'http' | 'either'
}

export type EndpointRequest = Omit<HttpRequest, 'url'> & {
  readonly target: string | URL
  readonly accept?: readonly number[]
}

/** One repository at one host: authenticates, follows redirects, waits as asked, tries again. */
export class Endpoint {
  readonly place: EndpointPlace
  readonly #transport: Transport
  readonly #auth: Authenticator
  readonly #triesMax: number
  #base: URL
  /** It has answered in the way it is asked now: from TLS there is no way back. */
  #hasAnswered = false

  /** `triesMax`: of one request. */
  constructor(transport: Transport, place: EndpointPlace, actions: string, triesMax: number = LIMITS.registryTries) {
    this.place = place
    this.#triesMax = triesMax
    this.#transport = transport
    this.#base = new URL(
      `${place.scheme === 'http' ? 'http' : 'https'}://${hostName(place.host)}/v2/${place.repository}/`,
    )
    this.#auth = new Authenticator(transport, place.registry, place.repository, place.repository, actions)
  }

  /**
   * Asks until there is an answer that is neither a wish to wait nor a fault that may pass. Answers other than 2xx and those of
   * `accept` are errors. A request whose body is a stream is asked once.
   */
  async ask(request: EndpointRequest, signal: AbortSignal): Promise<HttpAnswer> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#once(request, signal)
      } catch (error) {
        const isStream = request.body !== undefined && !(request.body instanceof Uint8Array)
        if (!mayPass(error) || tries >= this.#triesMax || isStream) throw error
        await this.pause(error, tries, signal)
      }
    }
  }

  /** Waits before the next try: as long as the registry wants, else longer each time. */
  async pause(error: FlistError, tries: number, signal: AbortSignal): Promise<void> {
    const wished = error.cause instanceof MayPass ? error.cause.waitMs : undefined
    if (wished !== undefined && wished > LIMITS.registryWaitMaxMs) throw error
    await sleep(wished ?? BACKOFF_MS * 2 ** (tries - 1), undefined, { signal })
  }

  async #once(request: EndpointRequest, signal: AbortSignal): Promise<HttpAnswer> {
    let { answer, at } = await this.#redirected(request, signal)
    // Twice: a token may have ended just then. Who else answers so, where this registry has sent us, gets nothing of what is for it.
    for (let times = 0; answer.status === 401 && this.#isOurs(at) && times < 2; times += 1) {
      await this.#auth.learn(answer, this.#base, signal)
      answer.drop()
      if (request.body !== undefined && !(request.body instanceof Uint8Array)) break
      ;({ answer, at } = await this.#redirected(request, signal))
    }
    if ((answer.status >= 200 && answer.status < 300) || request.accept?.includes(answer.status) === true) return answer
    answer.drop()
    throw this.#refusal(answer, at)
  }

  /** `at`: who answered. */
  async #redirected(
    request: EndpointRequest,
    signal: AbortSignal,
  ): Promise<{ readonly answer: HttpAnswer; readonly at: URL }> {
    const { method, headers, body, target } = request
    let answer = await this.#first({ method, headers, body, target }, signal)
    let at = this.#url(target)
    for (let redirects = 0; isRedirect(answer.status) && (method === 'GET' || method === 'HEAD'); redirects += 1) {
      const next = URL.parse(header(answer.headers, 'location'), at.href)
      answer.drop()
      if (next === null || redirects >= LIMITS.registryRedirectsMax) throw this.#protocol('its redirects lead nowhere')
      if (!['http:', 'https:'].includes(next.protocol)) throw this.#protocol('it redirects to no web address')
      if (next.protocol === 'http:' && at.protocol === 'https:') throw this.#protocol('it redirects from TLS to none')
      at = next
      // What is ours is for this registry alone; the other host has been told by the address what it may give.
      const own = this.#isOurs(at) ? this.#auth.headers : {}
      answer = await this.#transport.send({ method, url: at, headers: { ...headers, ...own } }, signal)
    }
    return { answer, at }
  }

  #isOurs({ origin }: URL): boolean {
    return origin === this.#base.origin
  }

  async #first(request: Omit<EndpointRequest, 'accept'>, signal: AbortSignal): Promise<HttpAnswer> {
    const send = (): Promise<HttpAnswer> => {
      const { method, headers, body, target } = request
      const url = this.#url(target)
      const own = this.#isOurs(url) ? this.#auth.headers : {}
      return this.#transport.send({ method, url, headers: { ...headers, ...own }, body }, signal)
    }
    try {
      const answer = await send()
      this.#hasAnswered = true
      return answer
    } catch (error) {
      const isRefused = error instanceof FlistError && describeError(error).includes('ECONNREFUSED')
      const mayBePlain = this.place.scheme === 'either' && this.#base.protocol === 'https:' && !this.#hasAnswered
      if (mayBePlain && (error instanceof NoTls || isRefused)) {
        this.#base = new URL(`http://${hostName(this.place.host)}/v2/${this.place.repository}/`)
        return await send()
      }
      throw error instanceof NoTls ? error.told : error
    }
  }

  /** A target that is a text lies below the repository. */
  #url(target: string | URL): URL {
    return typeof target === 'string' ? new URL(target, this.#base) : target
  }

  get base(): URL {
    return this.#base
  }

  #protocol(why: string): FlistError {
    return registryError('FLIST_STORE_PROTOCOL', this.place.registry, why)
  }

  #refusal({ status, headers }: HttpAnswer, at: URL): FlistError {
    const { registry, repository } = this.place
    const why = `it answered with status ${status} for "${repository}"`
    if (status === 401 && !this.#isOurs(at))
      return registryError('FLIST_STORE_DENIED', registry, `"${at.host}", to which it sends us, refuses us`, SENT_AWAY)
    if (status === 401)
      return registryError('FLIST_STORE_DENIED', registry, 'it refuses our user name, password or token')
    if (status === 403) return registryError('FLIST_STORE_DENIED', registry, why)
    if (status === 404)
      return registryError('FLIST_NOT_FOUND', registry, `"${repository}" is not there, or not what is asked of it`)
    if (status === 429 || status === 503) {
      const waitMs = retryAfterMs(header(headers, 'retry-after'))
      const long = waitMs !== undefined && waitMs > LIMITS.registryWaitMaxMs
      const hint = long
        ? `It wants us to wait ${Math.ceil(waitMs / 1000)} s; log in, or name a mirror with --mirror`
        : undefined
      return registryError('FLIST_STORE_UNREACHABLE', registry, why, hint, new MayPass(why, waitMs))
    }
    if (status >= 500 || status === 408)
      return registryError('FLIST_STORE_UNREACHABLE', registry, why, undefined, new MayPass(why))
    return registryError('FLIST_STORE_PROTOCOL', registry, why)
  }
}

function isRedirect(status: number): boolean {
  return [301, 302, 303, 307, 308].includes(status)
}

function hostName(host: string): string {
  return host === 'docker.io' ? 'registry-1.docker.io' : host
}

/** Seconds, or a date (RFC 9110 10.2.3); undefined where nothing is said. */
export function retryAfterMs(text: string, now = Date.now()): number | undefined {
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000
  const date = Date.parse(text)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}
