import { PROTOCOL_HINT, storeError } from './store-errors.ts'
import type { BlockSink } from './sink.ts'
import type { Secrets } from './store-secret.ts'
import type { Refused, WebClient } from './web-client.ts'

/** Blocks to an fl-server: POST `<base>/api/v1/block`, fl-v1-rfs.md section 6. */
export class ServerSink implements BlockSink {
  readonly name: string
  readonly #client: WebClient
  readonly #base: URL
  readonly #path: string
  #secrets: Secrets
  readonly #lookAgain: () => Promise<Secrets>
  /** Of `user` and `password`, where they were given in place of a token. */
  #signedIn: Promise<string> | undefined
  /** Somebody in front of the server lets only those look who say who they are; the server itself lets all. */
  #isGuarded = false

  /** `lookAgain` is asked where the server takes the secrets no more: a token in a file is replaced now and then. */
  constructor(name: string, base: string, secrets: Secrets, client: WebClient, lookAgain: () => Promise<Secrets>) {
    this.name = name
    this.#lookAgain = lookAgain
    this.#client = client
    this.#base = new URL(base)
    this.#path = this.#base.pathname.replace(/\/+$/, '')
    this.#secrets = secrets
  }

  async has(id: Buffer, signal: AbortSignal): Promise<boolean> {
    const url = this.#url(`/block/${id.toString('hex')}`)
    const send = (told: Record<string, string>): Promise<Refused> =>
      this.#client.send('HEAD', url, told, undefined, signal)
    let answer = this.#isGuarded ? undefined : await send({})
    if (answer === undefined || isRefusal(answer)) {
      this.#isGuarded = true
      answer = await this.#authorized(send, signal)
    }
    if (answer.status === 200) return true
    if (answer.status === 404) return false
    throw this.#client.refusal(answer)
  }

  /** The server says under which id it has what it was sent. */
  async put(id: Buffer, stored: Buffer, signal: AbortSignal): Promise<void> {
    const url = this.#url('/block')
    url.search = 'file_hash=&idx=0'
    const send = async (told: Record<string, string>): Promise<Refused> => {
      const headers = { 'content-type': 'application/octet-stream', ...told }
      return this.#client.send('POST', url, headers, stored, signal)
    }
    const answer = await this.#authorized(send, signal)
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

  /** Once more where the server refused secrets in whose place others are by now. */
  async #authorized(send: (told: Record<string, string>) => Promise<Refused>, signal: AbortSignal): Promise<Refused> {
    const told = await this.#authorization(signal)
    const answer = await send(told)
    if (!isRefusal(answer)) return answer
    const others = await this.#others(told, signal)
    return others['authorization'] === told['authorization'] ? answer : await send(others)
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

  /** Tokens run out while much is written: another one, where there is one. */
  async #others(told: Record<string, string>, signal: AbortSignal): Promise<Record<string, string>> {
    const now = await this.#authorization(signal)
    // Somebody else has renewed it meanwhile.
    if (now['authorization'] !== told['authorization']) return now
    this.#signedIn = undefined
    this.#secrets = await this.#lookAgain()
    return this.#authorization(signal)
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

function isRefusal({ status }: Refused): boolean {
  return status === 401 || status === 403
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
