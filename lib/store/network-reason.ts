import { systemCode, systemReason } from '../base/index.ts'

const REASONS: Readonly<Record<string, string>> = {
  UND_ERR_ABORTED: 'the proxy refused to connect to it',
  UND_ERR_INVALID_ARG: 'the secret has characters no header may have',
  UND_ERR_PRX_CONN: 'the proxy broke the connection',
  UND_ERR_PRX_TLS: 'the certificate of the proxy is not its own',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the answer stalled',
  UND_ERR_SOCKET: 'the connection broke',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the answer is shorter than announced',
}

/** So undici says 407 of a proxy that forwards, and of one that tunnels. */
export function isProxyDenied(error: unknown): boolean {
  const code = systemCode(error)
  const isRefusal = code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_ABORTED'
  return isRefusal && error instanceof Error && error.message.includes('(407)')
}

/** Why nothing came over HTTP, for people. By the code alone: undici's errors may carry the request's headers. */
export function networkReason(error: unknown): string {
  if (isProxyDenied(error)) return 'the proxy wants a password'
  const code = systemCode(error)
  return REASONS[code] ?? (code === '' ? 'the connection broke' : systemReason(error))
}
