import { createHash, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { describeError, FlistError, systemReason } from '../base/index.ts'
import type { StoreUrl } from './store-url.ts'

/** Names a PEM file of authorities trusted beside the known ones, for every store and download. */
export const CA_VARIABLE = 'FLISTFS_CA_FILE'

/** What the files said when they were read. */
export interface Tls {
  readonly context: SecureContext
  /** Another one where the files say something else. */
  readonly digest: string
}

/**
 * Whom to trust and who we are: `?ca-file=` (it alone then signs for this store), `?cert-file=`, `?key-file=`, FLISTFS_CA_FILE.
 * Undefined: as Node does, or the files say what they said when `known` was their digest. The caller has checked that the URL may name files (`readSecrets`). Throws FLIST_USAGE, FLIST_STORE_DENIED.
 */
export async function readTls(store: Pick<StoreUrl, 'name' | 'secrets'>, known?: string): Promise<Tls | undefined> {
  const { caFile, certFile, keyFile } = store.secrets
  const common = process.env[CA_VARIABLE] || undefined
  if (certFile === undefined && keyFile === undefined && caFile === undefined && common === undefined) return undefined
  if (keyFile !== undefined && certFile === undefined) {
    throw new FlistError('FLIST_USAGE', `Cannot use store "${store.name}": it names a key without a certificate`, {
      hint: 'Add ?cert-file=FILE',
    })
  }
  // One file may hold both, as curl's --cert takes it.
  const [ca, cert, key] = await Promise.all([
    readPem(store.name, caFile ?? common),
    readPem(store.name, certFile),
    readPem(store.name, keyFile ?? certFile),
  ])
  const text = JSON.stringify([ca, cert, key])
  const digest = createHash('sha256').update(text).digest('hex')
  // A context of all known authorities takes a while to make.
  if (digest === known) return undefined
  try {
    if (ca !== undefined) void new X509Certificate(ca)
    const context = createSecureContext({
      ...(ca === undefined ? {} : { ca: caFile === undefined ? [...getCACertificates(), ca] : [ca] }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
    })
    return { context, digest }
  } catch (error) {
    throw new FlistError('FLIST_STORE_DENIED', `Cannot use the TLS files of "${store.name}": ${describeError(error)}`, {
      hint: 'Name PEM files; the key must fit the certificate and have no passphrase',
    })
  }
}

async function readPem(name: string, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new FlistError('FLIST_STORE_DENIED', `Cannot read TLS file "${path}" of "${name}": ${systemReason(error)}`, {
      hint: `Make the file readable, or name another one`,
    })
  }
}
