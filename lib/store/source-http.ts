import { FlistError } from '../base/index.ts'
import type { BlockSource } from './port.ts'
import { MOVED_HINT, PROTOCOL_HINT, storeError } from './store-errors.ts'
import type { Secrets } from './store-secret.ts'
import { oneHeader, type Refused, type WebClient } from './web-client.ts'

const REDIRECTS_MAX = 5
const REDIRECTS = new Set([301, 302, 303, 307, 308])

/** Paths under the base at which a server may have a block; one of them for all blocks, as a rule. */
export type Layout = (hex: string) => string

/** Any web server: `<base>/<id[0:2]>/<id>`, or `<base>/<id>`. */
export const PLAIN_LAYOUTS: readonly Layout[] = [(hex) => `/${hex.slice(0, 2)}/${hex}`, (hex) => `/${hex}`]

/** Blocks behind a web server, by GET. Redirects leave secrets behind. */
export class HttpSource implements BlockSource {
  readonly name: string
  readonly #client: WebClient
  readonly #base: URL
  /** Of `base`, without a slash at its end. */
  readonly #path: string
  #authorization: string | undefined
  readonly #lookAgain: (() => Promise<Secrets>) | undefined
  /** The one that had the last block first. */
  #layouts: readonly Layout[]

  /** `lookAgain` is asked where the server takes the secrets no more: a token in a file is replaced now and then. */
  constructor(
    name: string,
    base: string,
    secrets: Secrets,
    client: WebClient,
    layouts = PLAIN_LAYOUTS,
    lookAgain?: () => Promise<Secrets>,
  ) {
    this.name = name
    this.#lookAgain = lookAgain
    this.#client = client
    this.#base = new URL(base)
    this.#path = this.#base.pathname.replace(/\/+$/, '')
    this.#authorization = authorization(secrets)
    this.#layouts = layouts
  }

  async get(id: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
    const hex = id.toString('hex')
    let denied: FlistError | undefined
    for (const layout of this.#layouts) {
      const url = this.#url(layout(hex))
      const stored = await this.#renewing(() => this.#fetch(url, signal)).catch((error: unknown) => {
        denied = deniedOnly(error)
        return undefined
      })
      if (stored === undefined) continue
      if (layout !== this.#layouts[0]) this.#layouts = [layout, ...this.#layouts.filter((other) => other !== layout)]
      return stored
    }
    if (denied !== undefined) throw denied
    return undefined
  }

  async has(id: Buffer, signal: AbortSignal): Promise<boolean> {
    const hex = id.toString('hex')
    let denied: FlistError | undefined
    for (const layout of this.#layouts) {
      const url = this.#url(layout(hex))
      const answer = await this.#renewing(async () => {
        const said = await this.#client.send('HEAD', url, this.#headers(url), undefined, signal)
        if (said.status === 401 || said.status === 403) throw this.#client.refusal(said)
        return said
      }).catch((error: unknown) => {
        denied = deniedOnly(error)
        return undefined
      })
      if (answer === undefined) continue
      if (answer.status === 200) return true
      // Where it leads, and what a server without HEAD has, only a real request tells.
      if (REDIRECTS.has(answer.status) || answer.status === 405 || answer.status === 501) {
        return (await this.get(id, signal)) !== undefined
      }
      if (answer.status !== 404 && answer.status !== 410) throw this.#client.refusal(answer)
    }
    if (denied !== undefined) throw denied
    return false
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client.close()
  }

  #url(path: string): URL {
    const url = new URL(this.#base)
    url.pathname = this.#path + path
    return url
  }

  async #fetch(start: URL, signal: AbortSignal): Promise<Buffer | undefined> {
    let url = start
    for (let redirects = 0; redirects <= REDIRECTS_MAX; redirects += 1) {
      const answer = await this.#client.get(url, this.#headers(url), signal)
      if (Buffer.isBuffer(answer)) return answer
      if (answer.status === 404 || answer.status === 410) return undefined
      if (!REDIRECTS.has(answer.status)) throw this.#refusal(answer, url)
      url = this.#target(url, oneHeader(answer.headers, 'location'))
    }
    throw storeError('FLIST_STORE_PROTOCOL', this.name, `more than ${REDIRECTS_MAX} redirects`, PROTOCOL_HINT)
  }

  #refusal(answer: Refused, from: URL): FlistError {
    const refusal = this.#client.refusal(answer)
    const isTold = this.#authorization === undefined || from.origin === this.#base.origin
    if (isTold || refusal.code !== 'FLIST_STORE_DENIED') return refusal
    const why = `it redirects to "${from.origin}", which is told no secrets and answered with status ${answer.status}`
    return storeError('FLIST_STORE_DENIED', this.name, why, MOVED_HINT)
  }

  /** Once more where the server refused secrets in whose place others are by now. */
  async #renewing<T>(work: () => Promise<T>): Promise<T> {
    const told = this.#authorization
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof FlistError) || error.code !== 'FLIST_STORE_DENIED') throw error
      if (this.#authorization === told && this.#lookAgain !== undefined)
        this.#authorization = authorization(await this.#lookAgain())
      if (this.#authorization === told) throw error
      return await work()
    }
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
}

/** Buckets that may be read and not listed deny what is not there: the block may lie in the other place. Throws what is no refusal. */
function deniedOnly(error: unknown): FlistError {
  if (error instanceof FlistError && error.code === 'FLIST_STORE_DENIED') return error
  throw error
}

/** The header's value; undefined: nothing is said. */
export function authorization({
  user,
  password,
  token,
}: Pick<Secrets, 'user' | 'password' | 'token'>): string | undefined {
  if (token !== '') return `Bearer ${token}`
  if (user === '' && password === '') return undefined
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}
