import type { FlistError } from '../base/index.ts'
import { storeError } from './store-errors.ts'

/** OpenSSL's words for a certificate that does not hold (Node's documentation of `tls`, "X509 certificate error codes"). */
const UNTRUSTED: Readonly<Record<string, string>> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'nobody we trust signed its certificate',
  UNABLE_TO_GET_ISSUER_CERT: 'nobody we trust signed its certificate',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'nobody we trust signed its certificate',
  SELF_SIGNED_CERT_IN_CHAIN: 'nobody we trust signed its certificate',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'it signed its certificate itself',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another host',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  CERT_NOT_YET_VALID: 'its certificate is not valid yet',
  CERT_UNTRUSTED: 'its certificate is not trusted',
  CERT_REJECTED: 'its certificate is rejected',
  CERT_SIGNATURE_FAILURE: 'the signature of its certificate is wrong',
  CERT_REVOKED: 'its certificate was revoked',
  INVALID_CA: 'nobody we trust signed its certificate',
}
const CLIENT_WANTED = /ALERT_(?:CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE|ACCESS_DENIED)$/

export function isTlsCode(code: string): boolean {
  return Object.hasOwn(UNTRUSTED, code) || code.startsWith('ERR_SSL_')
}

/** Why a certificate is not believed; undefined: the code says something else. */
export function untrustedReason(code: string): string | undefined {
  return UNTRUSTED[code]
}

/** None of these passes by waiting. */
export function tlsError(name: string, code: string): FlistError {
  const why = UNTRUSTED[code]
  if (why !== undefined) {
    const hint =
      'Name the authority that signed it: `?ca-file=FILE` in the URL or FLISTFS_CA_FILE; check the clock and the host'
    return storeError('FLIST_STORE_PROTOCOL', name, `${why} (${code})`, hint)
  }
  if (CLIENT_WANTED.test(code)) {
    const hint = 'Give a certificate that the store knows: `?cert-file=FILE&key-file=FILE`'
    return storeError('FLIST_STORE_DENIED', name, `it does not take our certificate, or wants one (${code})`, hint)
  }
  return storeError('FLIST_STORE_PROTOCOL', name, `TLS failed (${code})`, 'Check that the port speaks TLS')
}
