import { LIMITS } from '../../base/index.ts'
import { isObject } from '../manifest.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import { type Credentials, findCredentials } from './credentials.ts'
import { registryError } from './registry-errors.ts'
import { type HttpAnswer, type HttpRequest, readBody, type Transport } from './transport.ts'

const TOKEN_BYTES_MAX = 1024 * 1024
const CLIENT_ID = 'flistfs'

/** The Authorization for one host and repository: learnt from its first 401, asked for again when it no longer does. */
export class Authenticator {
  readonly #transport: Transport
  readonly #registry: string
  readonly #repository: string
  readonly #scope: string
  #credentials: Promise<Credentials | undefined> | undefined
  #authorization: string | undefined

  /** `actions` as the scope has them: `pull` or `pull,push`. `registry` and `repository` are the names credentials are looked up by. */
  constructor(transport: Transport, registry: string, repository: string, path: string, actions: string) {
    this.#transport = transport
    this.#registry = registry
    this.#repository = repository
    this.#scope = `repository:${path}:${actions}`
  }

  get headers(): Record<string, string> {
    return this.#authorization === undefined ? {} : { authorization: this.#authorization }
  }

  /** Learns from an answer 401. `origin` is whom we asked. Throws FLIST_STORE_DENIED where there is no more to try. */
  async learn(answer: HttpAnswer, origin: URL, signal: AbortSignal): Promise<void> {
    const challenges = parseChallenges(answer.headers['www-authenticate'])
    this.#credentials ??= findCredentials(this.#registry, this.#repository, signal)
    const credentials = await this.#credentials
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
    if (bearer !== undefined) {
      this.#authorization = `Bearer ${await this.#token(bearer, origin, credentials, signal)}`
      return
    }
    const isBasic = challenges.some(({ scheme }) => scheme === 'basic')
    if (isBasic && credentials?.kind === 'password') this.#authorization = basic(credentials)
    else
      throw this.#denied(isBasic && credentials === undefined ? 'it wants a user name and password' : 'it refuses us')
  }

  denied(): Error {
    return this.#denied('it refuses our user name, password or token')
  }

  #denied(why: string): Error {
    return registryError('FLIST_STORE_DENIED', this.#registry, why)
  }

  async #token(
    challenge: Challenge,
    origin: URL,
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    const said = challenge.parameters.get('realm')
    const realm = said === undefined ? null : URL.parse(said, origin.href)
    if (realm === null || !['http:', 'https:'].includes(realm.protocol)) {
      throw registryError('FLIST_STORE_PROTOCOL', this.#registry, 'it does not say where tokens are to be had')
    }
    if (realm.protocol === 'http:' && origin.protocol === 'https:') {
      throw registryError('FLIST_STORE_PROTOCOL', this.#registry, 'it wants the password sent without TLS')
    }
    const answer = await this.#transport.send(tokenRequest(realm, challenge, this.#scope, credentials), signal)
    const body = await readBody(answer, TOKEN_BYTES_MAX, this.#registry)
    if (answer.status === 401 || answer.status === 403 || answer.status === 400) throw this.denied()
    if (answer.status !== 200) {
      throw registryError('FLIST_STORE_UNREACHABLE', this.#registry, `it gave no token (status ${answer.status})`)
    }
    const token = tokenOf(body)
    if (token === undefined)
      throw registryError('FLIST_STORE_PROTOCOL', this.#registry, 'it gave something else than a token')
    return token
  }
}

/** distribution `docs/spec/auth/token.md` and `oauth.md`: a refresh token is posted, all else is a GET. */
function tokenRequest(
  realm: URL,
  challenge: Challenge,
  scope: string,
  credentials: Credentials | undefined,
): HttpRequest {
  const service = challenge.parameters.get('service')
  const parameters = new URLSearchParams(service === undefined ? {} : { service })
  parameters.append('scope', scope)
  if (credentials?.kind === 'identity') {
    parameters.append('client_id', CLIENT_ID)
    parameters.append('grant_type', 'refresh_token')
    parameters.append('refresh_token', credentials.token)
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    return { method: 'POST', url: realm, headers, body: Buffer.from(parameters.toString()) }
  }
  const url = new URL(realm)
  for (const [name, value] of parameters) url.searchParams.append(name, value)
  if (credentials === undefined) return { method: 'GET', url, headers: {} }
  url.searchParams.append('account', credentials.user)
  return { method: 'GET', url, headers: { authorization: basic(credentials) } }
}

function tokenOf(body: Buffer): string | undefined {
  let value: unknown
  try {
    value = JSON.parse(body.toString('utf8'))
  } catch {
    return undefined
  }
  if (!isObject(value)) return undefined
  const token = value['token'] ?? value['access_token']
  const isUsable =
    typeof token === 'string' && token.length <= LIMITS.routeUrlBytesMax * 4 && /^[\x21-\x7e]+$/.test(token)
  return isUsable ? token : undefined
}

function basic({ user, password }: { user: string; password: string }): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}
