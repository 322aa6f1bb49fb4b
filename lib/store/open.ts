import { FlistError, LIMITS, type Log } from '../base/index.ts'
import { prepareCodec } from './codec-tools.ts'
import { withDeadline } from './deadline.ts'
import { DecodePool } from './decode-pool.ts'
import type { BlockSource } from './port.ts'
import { RoutedReader } from './routed.ts'
import type { BlockSink } from './sink.ts'
import { DirSource } from './source-dir.ts'
import type { S3Source } from './source-s3.ts'
import { readSecrets, type Secrets } from './store-secret.ts'
import { parseStoreUrl, redactUrl, type StoreRoute, type StoreUrl } from './store-url.ts'
import type { WebClient } from './web-client.ts'

export interface ReaderRoute extends StoreRoute {
  /** The operator wrote it, not an archive: only then `?password-file=` and its like are read. */
  readonly trusted?: boolean
}

export interface OpenSourceOptions {
  /** Where `dir:folder` begins. */
  readonly baseDir: string
  readonly trusted?: boolean
  /** Milliseconds of one try. */
  readonly timeoutMs?: number
}

export interface OpenReaderOptions {
  /** In the order to ask. */
  readonly routes: readonly ReaderRoute[]
  readonly baseDir: string
  /** Milliseconds of one read in all; `LIMITS.readTimeoutMs` by default. */
  readonly timeoutMs?: number
  readonly log?: Log
  /** Shared with other readers; closed by its owner. */
  readonly pool?: DecodePool
}

/** One store by its URL. Throws FLIST_USAGE or FLIST_STORE_DENIED; does not connect yet. */
export async function openSource(url: string, options: OpenSourceOptions): Promise<BlockSource> {
  const { baseDir, trusted = false, timeoutMs = LIMITS.tryTimeoutMs } = options
  const store = parseStoreUrl(url, baseDir)
  if (store.scheme === 'dir') return new DirSource(store.name, store.path)
  const secrets = await readSecrets(store, trusted)
  if (store.scheme === 'zdb' || store.scheme === 'redis') {
    const { ZdbSource } = await import('./source-zdb.ts')
    return new ZdbSource(store, secrets, () => readSecrets(store, trusted), timeoutMs)
  }
  return openWebSource(store, secrets, trusted, timeoutMs)
}

/** One store for writing, no folder. Throws FLIST_USAGE, FLIST_STORE_DENIED; does not connect yet. */
export async function openSink(url: string, baseDir: string): Promise<BlockSink> {
  const store = parseStoreUrl(url, baseDir)
  const { scheme } = store
  if (scheme === 'dir' || scheme === 'http' || scheme === 'https') throw readOnly(store.name)
  const secrets = await readSecrets(store, true)
  if (scheme === 'zdb' || scheme === 'redis') {
    const { ZdbSource } = await import('./source-zdb.ts')
    return new ZdbSource(store, secrets, () => readSecrets(store, true))
  }
  const client = await openClient(store, LIMITS.tryTimeoutMs)
  if (scheme === 's3' || scheme === 's3s') return openS3(store, client, true, true)
  const { ServerSink } = await import('./sink-server.ts')
  const known = await withHostSecrets(store, secrets)
  return new ServerSink(store.name, store.path, known, client, () => lookUp(store, true))
}

function readOnly(name: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot write to store "${name}": blocks can only be read from there`, {
    hint: 'Name one of dir:///FOLDER, zdb://HOST:PORT/NAMESPACE, redis://HOST:PORT, s3://HOST:PORT/BUCKET, server://http://HOST:PORT',
  })
}

async function openClient(store: StoreUrl, timeoutMs: number): Promise<WebClient> {
  const [{ WebClient }, { readTls }] = await Promise.all([import('./web-client.ts'), import('./tls-files.ts')])
  return WebClient.open(store.name, timeoutMs, await readTls(store), (known) => readTls(store, known))
}

async function openS3(store: StoreUrl, client: WebClient, trusted: boolean, writes: boolean): Promise<S3Source> {
  const { S3Source } = await import('./source-s3.ts')
  const { findS3Credentials } = await import('./s3-credentials.ts')
  const credentials = async (): ReturnType<typeof findS3Credentials> =>
    findS3Credentials(store, await readSecrets(store, trusted), trusted)
  return new S3Source(store, { client, credentials, writes })
}

async function openWebSource(
  store: StoreUrl,
  secrets: Secrets,
  trusted: boolean,
  timeoutMs: number,
): Promise<BlockSource> {
  const client = await openClient(store, timeoutMs)
  if (store.scheme === 's3' || store.scheme === 's3s') return openS3(store, client, trusted, false)
  const known = await withHostSecrets(store, secrets)
  const lookAgain = (): Promise<Secrets> => lookUp(store, trusted)
  if (store.scheme === 'server') {
    const { openServerSource } = await import('./source-server.ts')
    return openServerSource(store.name, store.path, known, client, lookAgain)
  }
  const { HttpSource, PLAIN_LAYOUTS } = await import('./source-http.ts')
  return new HttpSource(store.name, store.path, known, client, PLAIN_LAYOUTS, lookAgain)
}

async function lookUp(store: StoreUrl, trusted: boolean): Promise<Secrets> {
  return withHostSecrets(store, await readSecrets(store, trusted))
}

/** A URL without secrets gets those that the credentials file has for its host. */
async function withHostSecrets(store: StoreUrl, secrets: Secrets): Promise<Secrets> {
  if (secrets.user !== '' || secrets.password !== '' || secrets.token !== '') return secrets
  const { findWebSecrets } = await import('./host-credentials.ts')
  return { ...secrets, ...(await findWebSecrets(store)) }
}

/**
 * Everything between a block reference and its plain bytes. Nothing is opened before the first read that needs it, so a
 * store that is away never keeps an archive from being mounted.
 */
export function openReader(options: OpenReaderOptions): RoutedReader {
  const { routes, baseDir, timeoutMs = LIMITS.readTimeoutMs, log } = options
  // All tries of one store fit into one read.
  const tryMs = Math.max(1, Math.min(LIMITS.tryTimeoutMs, Math.floor((timeoutMs * 0.9) / LIMITS.triesPerStore)))
  const sources = new Map<string, BlockSource>()
  const routed = routes.map(({ start, end, url, trusted = false }) => {
    const key = `${trusted ? 'trusted' : 'archive'} ${url}`
    const source = sources.get(key) ?? withDeadline(lazySource(url, { baseDir, trusted, timeoutMs: tryMs }), tryMs)
    sources.set(key, source)
    return { start, end, source }
  })
  const pool = options.pool ?? new DecodePool()
  return new RoutedReader(routed, {
    pool,
    ownsPool: options.pool === undefined,
    timeoutMs,
    ...(log === undefined ? {} : { log }),
  })
}

/**
 * Loads what the first block from these stores would wait for: their code, and that of the codec. Nothing is loaded for folders,
 * and nothing is connected. What goes wrong here, a read will say.
 */
export async function warmStores(routes: readonly ReaderRoute[], baseDir: string): Promise<void> {
  const away = new Map(routes.map((route) => [route.url, route]))
  for (const [url, { trusted = false }] of away) {
    try {
      if (parseStoreUrl(url, baseDir).scheme === 'dir') continue
      const source = await openSource(url, { baseDir, trusted })
      await source[Symbol.asyncDispose]()
      await prepareCodec()
    } catch {
      // A secret that is missing now may be there when it is needed.
    }
  }
}

/** Opens with the first `get`. What keeps it from opening is tried again with the next one: a secret file may appear. */
function lazySource(url: string, options: OpenSourceOptions): BlockSource {
  let opening: Promise<BlockSource> | undefined
  let source: BlockSource | undefined
  const open = async (): Promise<BlockSource> => {
    opening ??= openSource(url, options)
    try {
      source = await opening
      return source
    } catch (error) {
      opening = undefined
      throw error
    }
  }
  return {
    name: redactUrl(url),
    get: async (id, signal) => (source ?? (await open())).get(id, signal),
    async [Symbol.asyncDispose]() {
      const opened = await opening?.catch(() => undefined)
      await opened?.[Symbol.asyncDispose]()
    },
  }
}
