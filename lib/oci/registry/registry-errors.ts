import { FlistError, type FlistErrorCode, systemCode } from '../../base/index.ts'

const HINTS: Partial<Record<FlistErrorCode, string>> = {
  FLIST_STORE_UNREACHABLE: 'Check the network and the name of the registry; what was fetched is kept for the next try',
  FLIST_STORE_DENIED: 'Log in to the registry with docker, podman or skopeo: their credentials are used here',
  FLIST_STORE_PROTOCOL: 'Check that the name is that of a registry, and report what it answers to who runs it',
  FLIST_TIMEOUT: 'Check the network and the registry; what was fetched is kept for the next try',
  FLIST_NOT_FOUND: 'Check the name and the tag; a registry may also say so of what you may not see: log in to it',
}

export function registryError(
  code: FlistErrorCode,
  registry: string,
  why: string,
  hint?: string,
  cause?: unknown,
): FlistError {
  const options = { hint: hint ?? HINTS[code] ?? 'Try again', ...(cause === undefined ? {} : { cause }) }
  return new FlistError(code, `Cannot use registry "${registry}": ${why}`, options)
}

/** The cause of an error after which the same may be asked again; with how long the registry wants us to wait. */
export class MayPass extends Error {
  override readonly name = 'MayPass'
  readonly waitMs: number | undefined

  constructor(message: string, waitMs?: number) {
    super(message)
    this.waitMs = waitMs
  }
}

export function mayPass(error: unknown): error is FlistError {
  return error instanceof FlistError && error.cause instanceof MayPass
}

const UNTRUSTED = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'CERT_SIGNATURE_FAILURE',
  'CERT_REVOKED',
  'INVALID_CA',
])
const SPEAKS_NO_TLS = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO'])
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there (ECONNREFUSED)',
  ENOTFOUND: 'its host is unknown (ENOTFOUND)',
  UND_ERR_CONNECT_TIMEOUT: 'no connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'no answer in time',
  UND_ERR_BODY_TIMEOUT: 'the answer stalled',
  UND_ERR_SOCKET: 'the connection broke',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'the answer is shorter than announced',
}

/** What undici threw. Its causes may carry headers, and with them secrets: only the code goes on. */
export function connectionError(registry: string, error: unknown): FlistError {
  const code = systemCode(error)
  if (UNTRUSTED.has(code)) {
    const hint =
      'Name the authority that signed it in FLISTFS_CA_FILE, or put it into /etc/containers/certs.d/HOST/ca.crt'
    return registryError('FLIST_STORE_PROTOCOL', registry, `its certificate is not trusted (${code})`, hint)
  }
  if (speaksNoTls(error)) {
    return registryError(
      'FLIST_STORE_PROTOCOL',
      registry,
      'it does not speak TLS',
      `Allow it: --plain-http ${registry}`,
    )
  }
  if (code.startsWith('ERR_SSL_')) return registryError('FLIST_STORE_DENIED', registry, `TLS failed (${code})`)
  if (code === 'UND_ERR_INVALID_ARG')
    return registryError('FLIST_STORE_DENIED', registry, 'the password has characters no header may have')
  const why = REASONS[code] ?? (code || 'the connection broke')
  const lasts = code === 'ENOTFOUND'
  return registryError('FLIST_STORE_UNREACHABLE', registry, why, undefined, lasts ? undefined : new MayPass(why))
}

export function speaksNoTls(error: unknown): boolean {
  return SPEAKS_NO_TLS.has(systemCode(error))
}
