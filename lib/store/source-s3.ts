import { createHash } from 'node:crypto'
import { AwsV4Signer } from 'aws4fetch'
import type { FlistError } from '../base/index.ts'
import type { S3Credentials } from './aws-credentials.ts'
import type { BlockSource } from './port.ts'
import type { BlockSink } from './sink.ts'
import { DENIED_HINT, PROTOCOL_HINT, RetryAfter, storeError, UNREACHABLE_HINT } from './store-errors.ts'
import type { StoreUrl } from './store-url.ts'
import { oneHeader, redirectOrigin, type Refused, retryAfterMs, type WebClient } from './web-client.ts'

/** SHA-256 of no bytes: all a GET sends. */
const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
/** Credentials that may have been replaced since we read them. */
const STALE = new Set(
  'ExpiredToken InvalidToken TokenRefreshRequired InvalidAccessKeyId SignatureDoesNotMatch XAdminUserNotFound'.split(
    ' ',
  ),
)
/** With status 404: the block is not there. Any other code says more (a bucket, in versitygw also a user who does not exist). */
const ABSENT = new Set(['', 'NoSuchKey', 'NotFound', 'NoSuchVersion'])
/** With status 400: how long a session token lives, or what it is for. */
const SESSION = new Set(['ExpiredToken', 'InvalidToken', 'TokenRefreshRequired'])
const NO_BUCKET = new Set(['NoSuchBucket', 'InvalidBucketName'])
const BUSY = new Set(['SlowDown', 'ServiceUnavailable', 'Busy', 'InternalError', 'RequestTimeout'])

type Method = 'GET' | 'HEAD' | 'PUT'

export interface S3SourceParts {
  readonly client: WebClient
  /** Looks credentials up; again when they are taken no more. */
  readonly credentials: () => Promise<S3Credentials | undefined>
  /**
   * `has` comes before a `put`, which will say what is wrong: a key that may put need not be one that may look. Else what `has` says is
   * all that is said.
   */
  readonly writes?: boolean
  /** Milliseconds since 1970. */
  readonly now?: () => number
}

/** Blocks of an S3 store: `<endpoint>/<bucket>/[<prefix>/]<id>`, requests signed by version 4 where we have keys. */
export class S3Source implements BlockSource, BlockSink {
  readonly name: string
  readonly #store: StoreUrl
  readonly #parts: S3SourceParts
  /** Path before the id, encoded. */
  readonly #folder: string
  /** Derived keys, by day. */
  readonly #keys = new Map<string, ArrayBuffer>()
  #credentials: Promise<S3Credentials | undefined> | undefined

  constructor(store: StoreUrl, parts: S3SourceParts) {
    this.name = store.name
    this.#store = store
    this.#parts = parts
    const folders = [store.bucket, ...store.prefix.split('/').filter(Boolean)]
    // `+` too must be encoded: the signer takes it for a blank.
    this.#folder = folders.map((folder) => `/${encodeURIComponent(folder)}`).join('')
  }

  async get(id: Buffer, signal: AbortSignal): Promise<Buffer | undefined> {
    const { client } = this.#parts
    const url = this.#url(id)
    const { answer, credentials } = await this.#ask('GET', url, EMPTY_SHA256, (headers) =>
      client.get(url, headers, signal),
    )
    if (Buffer.isBuffer(answer)) return answer
    if (answer.status === 404 && ABSENT.has(codeOf(answer))) return undefined
    throw this.#refused(answer, credentials)
  }

  async has(id: Buffer, signal: AbortSignal): Promise<boolean> {
    const { client } = this.#parts
    const url = this.#url(id)
    const { answer, credentials } = await this.#ask('HEAD', url, EMPTY_SHA256, (headers) =>
      client.send('HEAD', url, headers, undefined, signal),
    )
    if (answer.status === 200) return true
    const isRefused = answer.status >= 300 && answer.status < 500 && answer.status !== 408 && answer.status !== 429
    if (!isRefused) throw this.#refused(answer, credentials)
    if (this.#parts.writes === true) return false
    // No body says whether it is the block, the bucket, the key or the region.
    return (await this.get(id, signal)) !== undefined
  }

  /** The server checks the signature, which covers the body, so that what it has is what was sent. */
  async put(id: Buffer, stored: Buffer, signal: AbortSignal): Promise<void> {
    const { client } = this.#parts
    const url = this.#url(id)
    const sha256 = createHash('sha256').update(stored).digest('hex')
    const { answer, credentials } = await this.#ask('PUT', url, sha256, (headers) =>
      client.send('PUT', url, headers, stored, signal),
    )
    if (answer.status < 200 || answer.status > 299) throw this.#refused(answer, credentials)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.client.close()
  }

  /** Sends a request, and again where its keys have expired and others are there by now: no read fails for that. */
  async #ask<A extends Buffer | Refused>(
    method: Method,
    url: URL,
    sha256: string,
    send: (headers: Record<string, string>) => Promise<A>,
  ): Promise<{ answer: A; credentials: S3Credentials | undefined }> {
    const credentials = await this.#known()
    const answer = await send(await this.#signed(method, url, sha256, credentials))
    if (Buffer.isBuffer(answer) || !STALE.has(codeOf(answer))) return { answer, credentials }
    this.#credentials = undefined
    const others = await this.#known()
    if (isSame(credentials, others)) return { answer, credentials }
    return { answer: await send(await this.#signed(method, url, sha256, others)), credentials: others }
  }

  async #known(): Promise<S3Credentials | undefined> {
    this.#credentials ??= this.#parts.credentials()
    const asked = this.#credentials
    try {
      return await asked
    } catch (error) {
      if (this.#credentials === asked) this.#credentials = undefined
      throw error
    }
  }

  #url(id: Buffer): URL {
    const url = new URL(this.#store.path)
    url.pathname = `${this.#folder}/${id.toString('hex')}`
    return url
  }

  async #signed(
    method: Method,
    url: URL,
    sha256: string,
    credentials: S3Credentials | undefined,
  ): Promise<Record<string, string>> {
    if (credentials === undefined) return {}
    const { accessKey, secretKey, sessionToken } = credentials
    // The keys of yesterday are of no use.
    if (this.#keys.size > 8) this.#keys.clear()
    const now = new Date(this.#parts.now?.() ?? Date.now())
    const region = this.#store.region || credentials.region
    const signer = new AwsV4Signer({
      method,
      url: url.href,
      headers: { 'x-amz-content-sha256': sha256 },
      accessKeyId: accessKey,
      secretAccessKey: secretKey,
      service: 's3',
      cache: this.#keys,
      datetime: now.toISOString().replace(/[:-]|\.\d{3}/g, ''),
      ...(sessionToken === '' ? {} : { sessionToken }),
      ...(region === '' ? {} : { region }),
    })
    const { headers } = await signer.sign()
    return Object.fromEntries(headers)
  }

  #refused(answer: Refused, credentials: S3Credentials | undefined): FlistError {
    const { status, headers } = answer
    const code = codeOf(answer)
    const why = code === '' ? `it answered with status ${status}` : `it answered with ${code} (${status})`
    if (NO_BUCKET.has(code))
      return storeError('FLIST_STORE_PROTOCOL', this.name, `it has no bucket "${this.#store.bucket}"`, BUCKET_HINT)
    if (BUSY.has(code) && status >= 400) {
      const cause = new RetryAfter(why, retryAfterMs(oneHeader(headers, 'retry-after')))
      return storeError('FLIST_STORE_UNREACHABLE', this.name, why, UNREACHABLE_HINT, cause)
    }
    const region = oneHeader(headers, 'x-amz-bucket-region') || /<Region>([\w-]{1,64})<\/Region>/.exec(answer.text)?.[1]
    // What stands in front of the store, and not the store, says so.
    const isMoved = code === '' && (region ?? '') === '' && status >= 300 && status < 400
    if (isMoved && redirectOrigin(headers) !== undefined) return this.#parts.client.refusal(answer)
    if (code === 'AuthorizationHeaderMalformed' || code === 'PermanentRedirect' || (status >= 300 && status < 400)) {
      const hint =
        region === undefined || region === ''
          ? 'Name the region in the URL: `?region=NAME`, and the endpoint of that region'
          : `Name the region in the URL: \`?region=${region}\`, and the endpoint of that region`
      return storeError('FLIST_STORE_DENIED', this.name, `${why}: the region is wrong`, hint)
    }
    // Amazon says 400 of a session that is over.
    if (status === 401 || status === 403 || STALE.has(code))
      return storeError('FLIST_STORE_DENIED', this.name, why, hintOf(code, credentials))
    if (code === '' || status >= 500 || status === 408 || status === 429) return this.#parts.client.refusal(answer)
    return storeError('FLIST_STORE_PROTOCOL', this.name, why, PROTOCOL_HINT)
  }
}

function isSame(one: S3Credentials | undefined, other: S3Credentials | undefined): boolean {
  return (
    one?.accessKey === other?.accessKey &&
    one?.secretKey === other?.secretKey &&
    one?.sessionToken === other?.sessionToken
  )
}

function codeOf({ text }: Refused): string {
  return /<Code>(\w{1,64})<\/Code>/.exec(text)?.[1] ?? ''
}

const BUCKET_HINT = 'Check the bucket in the URL: s3://HOST:PORT/BUCKET'

function hintOf(code: string, credentials: S3Credentials | undefined): string {
  if (code === 'RequestTimeTooSkewed' || code === 'RequestExpired')
    return 'The clock of this machine and the clock of the store differ too much: set the clock, for instance by NTP'
  if (credentials === undefined)
    return 'Give keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the host in ~/.config/flistfs/credentials.toml'
  const from = `the access key came from ${credentials.origin}`
  if (SESSION.has(code)) return `Get new keys with a session token, and put them where these are; ${from}`
  if (code === 'AccessDenied')
    return `Allow the key to get objects, to put them where you pack, and to list the bucket (without the right to list, a missing block is denied); ${from}`
  return code === '' ? DENIED_HINT : `Check the access key and its secret; ${from}`
}
