import { PROTOCOL_HINT, storeError } from './store-errors.ts'
import type { BlockSink } from './sink.ts'
import type { Secrets } from './store-secret.ts'
import type { WebClient } from './web-client.ts'

/** Blocks to an fl-server: POST `<base>/api/v1/block`, fl-v1-rfs.md section 6. */
export class ServerSink implements BlockSink {
  readonly name: string
  readonly #client: WebClient
  readonly #base: URL
  readonly #path: string
  readonly #secrets: Secrets
  /** Of `user` and `password`, where they were given in place of a token. */
  #signedIn: Promise<string> | undefined

  constructor(name: string, base: string, secrets: Secrets, client: WebClient) {
    this.name = name
    this.#client = client
    this.#base = new URL(base)
    this.#path = this.#base.pathname.replace(/\/+$/, '')
    this.#secrets = secrets
  }

  async has(id: Buffer, signal: AbortSignal): Promise<boolean> {
    const answer = await this.#client.send('HEAD', this.#url(`/block/${id.toString('hex')}`), {}, undefined, signal)
    if (answer.status === 200) return true
    if (answer.status === 404) return false
    throw this.#client.refusal(answer)
  }

  /** The server says under which id it has what it was sent. */
  async put(id: Buffer, stored: Buffer, signal: AbortSignal): Promise<void> {
    const url = this.#url('/block')
    url.search = 'file_hash=&idx=0'
    const headers = { 'content-type': 'application/octet-stream', ...(await this.#authorization(signal)) }
    const answer = await this.#client.send('POST', url, headers, stored, signal)
    // A token of our own making has run out: the next try has a new one.
    if (answer.status === 401 || answer.status === 403) this.#signedIn = undefined
    if (answer.status !== 200 && answer.status !== 201) throw this.#client.refusal(answer)
    if (textIn(answer.text, 'hash') === id.toString('hex')) return
    throw storeError('FLIST_STORE_PROTOCOL', this.name, 'it has the block under another id', PROTOCOL_HINT)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client.close()
  }

  #url(path: string): URL {
    const url = new URL(this.#base)
    url.pathname = `${this.#path}/api/v1${path}`
    return url
  }

  async #authorization(signal: AbortSignal): Promise<Record<string, string>> {
    const { user, password, token } = this.#secrets
    if (token !== '') return { authorization: `Bearer ${token}` }
    if (user === '' && password === '') return {}
    this.#signedIn ??= this.#signIn(signal)
    const asked = this.#signedIn
    try {
      return { authorization: `Bearer ${await asked}` }
    } catch (error) {
      if (this.#signedIn === asked) this.#signedIn = undefined
      throw error
    }
  }

  async #signIn(signal: AbortSignal): Promise<string> {
    const { user, password } = this.#secrets
    const body = Buffer.from(JSON.stringify({ username: user, password }))
    const headers = { 'content-type': 'application/json' }
    const answer = await this.#client.send('POST', this.#url('/signin'), headers, body, signal)
    if (answer.status !== 200 && answer.status !== 201) throw this.#client.refusal(answer)
    const token = textIn(answer.text, 'access_token')
    if (token !== '') return token
    throw storeError('FLIST_STORE_PROTOCOL', this.name, 'its answer to a sign-in has no token', PROTOCOL_HINT)
  }
}

/** A field of a JSON object, or ''. */
function textIn(text: string, field: string): string {
  try {
    const value: unknown = JSON.parse(text)
    const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, field) : undefined
    return typeof found === 'string' ? found : ''
  } catch {
    return ''
  }
}
