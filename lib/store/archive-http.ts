import type { Dispatcher } from 'undici'
import { FlistError, LIMITS, systemCode } from '../base/index.ts'
import { proxyHint } from './dispatcher.ts'
import { isProxyDenied, networkReason } from './network-reason.ts'
import { isTlsCode, untrustedReason } from './tls-errors.ts'
import { untilAbort } from './wait.ts'
import { drop, PROXY_HINT } from './web-client.ts'

/** The URL for people and files: no user, no password, no query (tokens are found there too). */
export function redactUrl(url: URL): string {
  const plain = new URL(url)
  plain.username = ''
  plain.password = ''
  plain.hash = ''
  plain.search = plain.search === '' ? '' : '?...'
  return plain.href
}

/** Connections for archives, and what the server of one is told of who asks. */
export interface ArchiveClient {
  readonly agent: Dispatcher
  readonly authorization: string | undefined
}

/** Through the proxies of the environment and with the authorities of FLISTFS_CA_FILE. Secrets are the URL's, else the credentials file's. */
export async function openClient(url: URL): Promise<ArchiveClient> {
  const [{ openDispatcher }, { readTls }] = await Promise.all([import('./dispatcher.ts'), import('./tls-files.ts')])
  const tls = await readTls({ name: 'the archive', secrets: {} })
  const authorization = await authorizationFor(url)
  return {
    agent: await openDispatcher({ timeoutMs: LIMITS.tryTimeoutMs, connections: 2, tls: tls?.context }),
    authorization,
  }
}

async function authorizationFor(url: URL): Promise<string | undefined> {
  const { authorization } = await import('./source-http.ts')
  const [user, password] = [decoded(url.username), decoded(url.password)]
  if (user !== '' || password !== '') return authorization({ user, password, token: '' })
  const { findWebSecrets } = await import('./host-credentials.ts')
  const port = Number(url.port) || (url.protocol === 'https:' ? 443 : 80)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  const found = await findWebSecrets({ name: redactUrl(url), path: url.href, host, port })
  return found && authorization(found)
}

/** Of a part of a URL; as it stands where its percent signs mean nothing. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

const REDIRECTS_MAX = 5
const REDIRECTS = new Set([301, 302, 303, 307, 308])

export interface Got {
  readonly response: Dispatcher.ResponseData
  /** Who answered, where that was told no secrets though there are some: a redirect leads elsewhere. */
  readonly stranger: string | undefined
}

/** GET, following redirects. Secrets go to the origin of the URL only. The caller reads or destroys the body. */
export async function getUrl(
  { agent, authorization }: ArchiveClient,
  url: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Got> {
  let at = url
  for (let hops = 0; hops <= REDIRECTS_MAX; hops += 1) {
    const isOrigin = at.origin === url.origin
    const told = authorization !== undefined && isOrigin ? { authorization } : {}
    // Undici hears of the signal only when it is connected.
    const asked = agent.request({
      origin: at.origin,
      path: at.pathname + at.search,
      method: 'GET',
      headers: { 'user-agent': 'flistfs', accept: '*/*', ...headers, ...told },
      signal,
    })
    const response = await untilAbort(asked, redactUrl(at), signal, drop)
    if (!REDIRECTS.has(response.statusCode))
      return { response, stranger: authorization === undefined || isOrigin ? undefined : at.origin }
    drop(response)
    const next = response.headers['location']
    if (typeof next !== 'string' || !URL.canParse(next, at.href)) throw unusable(url, 'a redirect leads nowhere')
    at = new URL(next, at.href)
    if (!/^https?:$/.test(at.protocol)) throw unusable(url, `it redirects to "${at.protocol}"`)
    if (url.protocol === 'https:' && at.protocol === 'http:') throw unusable(url, 'it redirects from https to http')
  }
  throw unusable(url, `more than ${REDIRECTS_MAX} redirects`)
}

function unusable(url: URL, why: string): FlistError {
  return new FlistError('FLIST_STORE_PROTOCOL', `Cannot fetch "${redactUrl(url)}": ${why}`, {
    hint: 'Check the address: it may not be that of an archive',
  })
}

/** The error of an answer that is not 200; undefined for that. */
export function statusError(url: URL, { response, stranger }: Got): FlistError | undefined {
  const status = response.statusCode
  if (status === 200) return undefined
  const what = `Cannot fetch "${redactUrl(url)}": the server answered ${status}`
  if (status === 404 || status === 410) {
    return new FlistError('FLIST_NOT_FOUND', what, {
      hint: 'Check the name; a copy kept earlier is used with --digest',
    })
  }
  if ((status === 401 || status === 403) && stranger !== undefined) {
    return new FlistError('FLIST_STORE_DENIED', `${what}, by "${stranger}", which is told no secrets`, {
      hint: 'It redirects there: write that address, and have a password for its host',
    })
  }
  if (status === 401 || status === 403) {
    return new FlistError('FLIST_STORE_DENIED', what, {
      hint: 'Put user and password, or a token, for this host into the credentials file (docs/stores.md)',
    })
  }
  const passing = status === 408 || status === 429 || status >= 500
  return new FlistError(passing ? 'FLIST_STORE_UNREACHABLE' : 'FLIST_STORE_PROTOCOL', what, {
    hint: passing
      ? 'Try again later, or ask who runs the server'
      : 'Check the address: it may not be that of an archive',
  })
}

/** Anything that went wrong on the way, as one of ours. */
export function asFetchError(error: unknown, url: URL, signal: AbortSignal): FlistError {
  if (error instanceof FlistError) return error
  if (signal.aborted) {
    return new FlistError('FLIST_INTERRUPTED', `Cannot fetch "${redactUrl(url)}": interrupted`, { cause: error })
  }
  const timedOut = error instanceof Error && (error.name === 'TimeoutError' || error.name.endsWith('TimeoutError'))
  const code = systemCode(error)
  const untrusted = untrustedReason(code)
  const isTls = untrusted === undefined && isTlsCode(code)
  const reason = isTls ? 'TLS failed' : untrusted
  const why = timedOut ? 'no answer in time' : reason === undefined ? networkReason(error) : `${reason} (${code})`
  const message = `Cannot fetch "${redactUrl(url)}": ${why}`
  if (code === 'UND_ERR_INVALID_ARG' || isProxyDenied(error)) {
    const hint = isProxyDenied(error) ? PROXY_HINT : 'Check what the credentials file says of this host'
    return new FlistError('FLIST_STORE_DENIED', message, { hint })
  }
  return new FlistError(timedOut ? 'FLIST_TIMEOUT' : 'FLIST_STORE_UNREACHABLE', message, {
    hint:
      untrusted === undefined
        ? `Check the address and the network${isTls ? ', and that the port speaks TLS' : ''}${proxyHint()}`
        : 'Name the authority that signed it in FLISTFS_CA_FILE; check the clock and the host',
    cause: error,
  })
}
