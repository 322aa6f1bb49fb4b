import type { PeerCertificate, SecureContext } from 'node:tls'
import type { Dispatcher } from 'undici'
import { FlistError, LIMITS } from '../base/index.ts'

/** Milliseconds a connection that nobody uses is kept. */
const IDLE_MS = 30_000
const PROXY_VARIABLES = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY'] as const
const PROXY_SCHEMES = new Set(['http:', 'https:'])

export interface DispatcherOptions {
  readonly timeoutMs: number
  readonly connections?: number
  readonly tls?: SecureContext | undefined
}

/**
 * Undici's pool of connections, through the proxies of the environment (`http_proxy`, `https_proxy`, `no_proxy`, in both cases).
 * Loaded with the first store that needs it: it is 27 MB of memory. Throws FLIST_USAGE where a proxy is no URL, FLIST_STORE_DENIED for
 * FLISTFS_CA_FILE.
 */
export async function openDispatcher(options: DispatcherOptions): Promise<Dispatcher> {
  const { timeoutMs, connections = LIMITS.connectionsPerStore, tls } = options
  const { Agent, EnvHttpProxyAgent } = await import('undici')
  const connect = { timeout: timeoutMs, ...(tls === undefined ? {} : { secureContext: tls }) }
  const agentOptions = {
    connections,
    connect,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    keepAliveTimeout: IDLE_MS,
    pipelining: 1,
  }
  if (!hasProxy()) return new Agent(agentOptions)
  // What a store's URL says of certificates is between us and that store.
  const [{ readTls }, { checkServerIdentity }] = await Promise.all([import('./tls-files.ts'), import('node:tls')])
  const known = await readTls({ name: 'the proxy', secrets: {} })
  const proxyTls = {
    timeout: timeoutMs,
    // Undici asks for an IPv6 address in the brackets of its URL.
    checkServerIdentity: (host: string, certificate: PeerCertificate) =>
      checkServerIdentity(host.replace(/^\[(.*)\]$/, '$1'), certificate),
    ...(known === undefined ? {} : { secureContext: known.context }),
  }
  return new EnvHttpProxyAgent({ ...agentOptions, requestTls: connect, proxyTls })
}

/** What to add to a hint where nothing came: whoever set a proxy may not think of it. */
export function proxyHint(): string {
  const isSet = PROXY_VARIABLES.some((variable) => Boolean(process.env[variable]))
  return isSet ? '; a proxy is set: check the variables http_proxy, https_proxy and no_proxy' : ''
}

function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

/** True where the environment names a proxy; checks it before undici does, whose message would tell its password. */
function hasProxy(): boolean {
  let found = false
  for (const variable of PROXY_VARIABLES) {
    const value = process.env[variable]
    if (value === undefined || value === '') continue
    const url = URL.parse(value)
    if (url === null || !PROXY_SCHEMES.has(url.protocol)) {
      throw new FlistError('FLIST_USAGE', `Cannot use the proxy of "${variable}": it is no http or https URL`, {
        hint: `Write it as http://HOST:PORT: export ${variable}=http://HOST:PORT; in a password / is %2F, # is %23, @ is %40`,
      })
    }
    if (!isEncoded(url.username) || !isEncoded(url.password)) {
      throw new FlistError('FLIST_USAGE', `Cannot use the proxy of "${variable}": its login has a broken % escape`, {
        hint: 'Write % itself as %25',
      })
    }
    found = true
  }
  return found
}
