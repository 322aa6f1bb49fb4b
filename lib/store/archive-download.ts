import { setTimeout as sleep } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import { describeError, FlistError, LIMITS } from '../base/index.ts'
import {
  type ArchiveClient,
  asFetchError,
  getUrl,
  type Got,
  openClient,
  redactUrl,
  statusError,
} from './archive-http.ts'
import { ArchiveShelf, type UrlRecord } from './archive-shelf.ts'
import { drop } from './web-client.ts'

export interface DownloadOptions {
  readonly cacheDir: string
  /** SHA-256 in hex that the archive must have; a copy kept earlier then needs no network. */
  readonly digest?: string | undefined
  readonly onProgress?: ((bytes: number, total: number | undefined) => void) | undefined
  readonly onWarning?: ((message: string) => void) | undefined
  /** Milliseconds that only go forward. */
  readonly now?: (() => number) | undefined
}

/** Failures that may pass: they are tried again. A kept copy stands in for them, and where the disk takes no other. */
const PASSING = new Set(['FLIST_STORE_UNREACHABLE', 'FLIST_TIMEOUT'])

/**
 * The archive at a URL as a file of the cache folder, fetched only when it changed. Throws FLIST_NOT_FOUND, FLIST_STORE_*,
 * FLIST_TIMEOUT, FLIST_DIGEST_MISMATCH, FLIST_LIMIT, FLIST_CACHE_UNUSABLE, FLIST_INTERRUPTED.
 */
export async function downloadArchive(url: URL, options: DownloadOptions, signal: AbortSignal): Promise<string> {
  const shelf = new ArchiveShelf(options.cacheDir)
  const pinned = options.digest === undefined ? undefined : shelf.find(options.digest)
  if (pinned !== undefined) return pinned
  const kept = shelf.remember(url)
  const client = await openClient(url)
  try {
    return await fetchWithRetries(client, url, shelf, kept, options, signal)
  } catch (error) {
    const failure = asFetchError(error, url, signal)
    const copy = kept && shelf.find(kept.sha256, kept.bytes)
    if (!copy || !(PASSING.has(failure.code) || failure.code === 'FLIST_CACHE_UNUSABLE')) throw failure
    options.onWarning?.(`${failure.message}; using the copy of ${kept.time}`)
    checkPin(kept.sha256, url, options)
    return copy
  } finally {
    await client.agent.destroy()
  }
}

async function fetchWithRetries(
  client: ArchiveClient,
  url: URL,
  shelf: ArchiveShelf,
  kept: UrlRecord | undefined,
  options: DownloadOptions,
  signal: AbortSignal,
): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await fetchOnce(client, url, shelf, kept, options, signal)
    } catch (error) {
      const failure = asFetchError(error, url, signal)
      // With a copy at hand, waiting serves nobody.
      if (kept || !PASSING.has(failure.code) || attempt >= LIMITS.triesPerStore) throw failure
      await sleep(200 * 2 ** attempt * (0.5 + Math.random()), undefined, { signal })
    }
  }
}

async function fetchOnce(
  client: ArchiveClient,
  url: URL,
  shelf: ArchiveShelf,
  kept: UrlRecord | undefined,
  options: DownloadOptions,
  signal: AbortSignal,
): Promise<string> {
  const got = await getUrl(client, url, conditions(kept), signal)
  const { response } = got
  const copy = kept && shelf.find(kept.sha256, kept.bytes)
  if (response.statusCode === 304 && kept && copy) {
    await response.body.dump()
    checkPin(kept.sha256, url, options)
    return copy
  }
  await using draft = await begin(got, shelf, url)
  try {
    await receive(response, contentLength(response.headers), draft, url, options)
  } finally {
    drop(response)
  }
  const { sha256, md5 } = draft.digests()
  checkPin(sha256, url, options)
  const wanted = await hubMd5(client, url, options, signal)
  if (wanted !== undefined && wanted !== md5) throw mismatch(url, `MD5 ${md5}, the server's ".md5" says ${wanted}`)
  const path = await draft.publish(sha256)
  const record = {
    url: redactUrl(url),
    etag: oneHeader(response.headers['etag']),
    lastModified: oneHeader(response.headers['last-modified']),
    sha256,
    md5,
    bytes: draft.bytes,
    time: new Date().toISOString(),
  }
  // Without it the archive is fetched again the next time.
  await shelf.note(url, record).catch((error: unknown) => options.onWarning?.(describeError(error)))
  return path
}

/** The file to fill, where the answer is an archive. */
async function begin(got: Got, shelf: ArchiveShelf, url: URL): Promise<Draft> {
  try {
    const failure = statusError(url, got)
    if (failure) throw failure
    return await shelf.begin()
  } catch (error) {
    drop(got.response)
    throw error
  }
}

type Draft = Awaited<ReturnType<ArchiveShelf['begin']>>

async function receive(
  response: Dispatcher.ResponseData,
  total: number | undefined,
  draft: Draft,
  url: URL,
  options: DownloadOptions,
): Promise<void> {
  if ((total ?? 0) > LIMITS.archiveBytesMax) throw tooLarge(url)
  const now = options.now ?? (() => performance.now())
  let window = { from: now(), bytes: 0 }
  for await (const chunk of response.body) {
    await draft.write(chunk as Buffer)
    if (draft.bytes > LIMITS.archiveBytesMax) throw tooLarge(url)
    options.onProgress?.(draft.bytes, total)
    const at = now()
    if (at - window.from < LIMITS.fetchedWindowMs) continue
    if (draft.bytes - window.bytes < LIMITS.fetchedBytesMin) throw trickles(url, draft.bytes - window.bytes)
    window = { from: at, bytes: draft.bytes }
  }
  if (draft.bytes === 0)
    throw new FlistError('FLIST_NOT_FOUND', `Cannot use "${redactUrl(url)}": it is empty`, {
      hint: 'Ask whoever published it: the server has nothing under this address',
    })
  if (total !== undefined && total !== draft.bytes) {
    throw new FlistError(
      'FLIST_STORE_UNREACHABLE',
      `Cannot fetch "${redactUrl(url)}": ${draft.bytes} of ${total} bytes came`,
      { hint: 'Try again: the connection broke' },
    )
  }
}

function trickles(url: URL, bytes: number): FlistError {
  const seconds = LIMITS.fetchedWindowMs / 1000
  return new FlistError('FLIST_TIMEOUT', `Cannot fetch "${redactUrl(url)}": only ${bytes} bytes came in ${seconds} s`, {
    hint: 'Try again later, or ask who runs the server',
  })
}

function conditions(kept: UrlRecord | undefined): Record<string, string> {
  if (kept?.etag !== undefined) return { 'if-none-match': kept.etag }
  return kept?.lastModified === undefined ? {} : { 'if-modified-since': kept.lastModified }
}

/** The sum a hub keeps beside each archive (hub-api.md 3). Absent below tags, and on servers that are no hub. */
async function hubMd5(
  client: ArchiveClient,
  url: URL,
  options: DownloadOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  const beside = new URL(url)
  beside.pathname += '.md5'
  try {
    const text = await shortText(client, beside, MD5_BYTES_MAX, signal)
    // A server that answers every address with a page gives no sum.
    return /^([0-9a-f]{32})\s/i.exec(`${text} `)?.[1]?.toLowerCase()
  } catch (error) {
    if (signal.aborted) throw error
    options.onWarning?.(`Cannot check the MD5 of "${redactUrl(url)}": ${asFetchError(error, beside, signal).message}`)
    return undefined
  }
}

const MD5_BYTES_MAX = 1024

/**
 * The text of a small file beside an archive: its name is the archive's and `ending`. Undefined where the server has none; one that cannot be
 * asked is told to `warn`. Throws FLIST_INTERRUPTED.
 */
export async function fetchBeside(
  url: URL,
  ending: string,
  bytesMax: number,
  warn: (message: string) => void,
  signal: AbortSignal,
): Promise<string | undefined> {
  const beside = new URL(url)
  beside.pathname += ending
  const client = await openClient(url)
  try {
    const text = await shortText(client, beside, bytesMax, signal)
    return text === '' ? undefined : text
  } catch (error) {
    const failure = asFetchError(error, beside, signal)
    if (signal.aborted) throw failure
    warn(failure.message)
    return undefined
  } finally {
    await client.agent.destroy()
  }
}

/** Cut beyond `bytesMax`; empty where the answer is no 200. */
async function shortText(client: ArchiveClient, url: URL, bytesMax: number, signal: AbortSignal): Promise<string> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(LIMITS.tryTimeoutMs)])
  const { response } = await getUrl(client, url, {}, deadline)
  if (response.statusCode !== 200) {
    await response.body.dump()
    return ''
  }
  let text = ''
  for await (const chunk of response.body) {
    text += String(chunk)
    if (text.length > bytesMax) break
  }
  return text
}

function checkPin(sha256: string, url: URL, options: DownloadOptions): void {
  if (options.digest === undefined || options.digest === sha256) return
  throw mismatch(url, `SHA-256 ${sha256}, asked for ${options.digest}`)
}

function mismatch(url: URL, why: string): FlistError {
  return new FlistError('FLIST_DIGEST_MISMATCH', `Cannot use "${redactUrl(url)}": it has ${why}`, {
    hint: 'Ask whoever published it which is right; nothing of it was kept',
  })
}

function tooLarge(url: URL): FlistError {
  return new FlistError('FLIST_LIMIT', `Cannot use "${redactUrl(url)}": more than ${LIMITS.archiveBytesMax} bytes`, {
    hint: 'Check that the address is that of an archive',
  })
}

function contentLength(headers: Dispatcher.ResponseData['headers']): number | undefined {
  const text = oneHeader(headers['content-length'])
  return text === undefined || oneHeader(headers['content-encoding']) !== undefined ? undefined : Number(text)
}

function oneHeader(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0]
}
