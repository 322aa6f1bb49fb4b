import { FlistError } from '../base/index.ts'
import { findAwsCredentials, type S3Credentials } from './aws-credentials.ts'
import { findHostCredentials } from './host-credentials.ts'
import type { StoreUrl } from './store-url.ts'
import type { Secrets } from './store-secret.ts'

/**
 * Who we are to an S3 store: the URL's own keys, else `AWS_*` and `~/.aws`, else the credentials file's table of the host.
 * Undefined: nobody, requests are not signed. An archive may name any host, so what is not written for a certain host goes only
 * to stores the operator named, and to Amazon over TLS (docs/decisions/100-s3-credentials.md). Throws FLIST_STORE_DENIED.
 */
export async function findS3Credentials(
  store: StoreUrl,
  secrets: Secrets,
  trusted: boolean,
): Promise<S3Credentials | undefined> {
  if (secrets.user !== '' || secrets.password !== '') {
    const { user: accessKey, password: secretKey, token: sessionToken } = secrets
    if (accessKey === '' || secretKey === '') throw half(store, accessKey === '')
    return { accessKey, secretKey, sessionToken, region: '', origin: 'the URL' }
  }
  if (trusted || isAmazon(store)) {
    const found = await findAwsCredentials()
    if (found !== undefined) return found
  }
  const entry = await findHostCredentials(store)
  if (entry === undefined || (entry.accessKey === '' && entry.secretKey === '')) return undefined
  const { accessKey, secretKey, sessionToken, region, file } = entry
  if (accessKey === '' || secretKey === '') throw half(store, accessKey === '')
  return { accessKey, secretKey, sessionToken, region, origin: file }
}

/** Signed with one of both, requests would be refused for another reason. */
function half({ name }: StoreUrl, isKeyMissing: boolean): FlistError {
  const why = isKeyMissing ? 'there is a secret without an access key' : 'there is an access key without a secret'
  return new FlistError('FLIST_STORE_DENIED', `Cannot use store "${name}": ${why}`, {
    hint: 'Give both: s3://KEY@HOST/BUCKET?password-file=FILE, or access_key and secret_key in the credentials file (docs/stores.md)',
  })
}

function isAmazon(store: StoreUrl): boolean {
  return store.scheme === 's3s' && /\.amazonaws\.com(?:\.cn)?$/i.test(store.host)
}
