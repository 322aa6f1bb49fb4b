import { type Stats, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { FlistError, systemReason } from '../base/index.ts'
import { redactUrl } from './archive-http.ts'
import type { DownloadOptions } from './archive-download.ts'
import { hasBareUserinfo, hasZone, ZONE_HINT } from './store-url.ts'

export interface ResolveOptions extends DownloadOptions {
  /** Base URL of the hub that short names belong to; `DEFAULT_HUB` when undefined. */
  readonly hub?: string | undefined
}

export interface ResolvedArchive {
  /** A local file. */
  readonly path: string
  /** As typed, without secrets. */
  readonly name: string
  /** What relative `dir:` URLs of the archive are relative to. */
  readonly baseDir: string
  /** Where it was fetched from, with its secrets. */
  readonly url?: URL | undefined
}

/** The public hub (hub-api.md). */
export const DEFAULT_HUB = 'https://hub.grid.tf'

/** `user/name.flist`, `user/name.fl`, `user/tags/<tag>/name.flist`. */
const HUB_NAME = /^[^/\s.][^/\s]*\/(?:tags\/[^/\s]+\/)?[^/\s]+\.(?:flist|fl)$/

/** An archive by path, `file:` URL, http(s) URL or name on a hub, as a local file. Throws FLIST_NOT_FOUND, and what fetching may throw. */
export async function resolveArchive(
  name: string,
  options: ResolveOptions,
  signal: AbortSignal,
): Promise<ResolvedArchive> {
  if (/^https?:\/\//i.test(name)) return fetchArchive(parseUrl(name), options, signal)
  const path = /^file:/i.test(name) ? fileURLToPath(parseUrl(name)) : resolve(name)
  const [stat, why] = look(path)
  if (stat?.isFile()) return { path, name, baseDir: dirname(path) }
  if (stat)
    throw new FlistError('FLIST_NOT_FOUND', `Cannot use "${name}" as an archive: it is not a regular file`, {
      hint: 'Name the .fl or .flist file itself',
    })
  if (!HUB_NAME.test(name)) {
    if (why !== undefined)
      throw new FlistError('FLIST_NOT_FOUND', `Cannot read the archive "${name}": ${why}`, {
        hint: 'Check the path and who may read it',
      })
    throw new FlistError('FLIST_NOT_FOUND', `Cannot find the archive "${name}"`, {
      hint: 'Give a path, a URL, or user/name.flist for an archive on a hub',
    })
  }
  const fetched = await fetchArchive(hubUrl(options.hub ?? DEFAULT_HUB, name), options, signal)
  return { ...fetched, name }
}

/** What is there, or why one cannot know. */
function look(path: string): [stat: Stats | undefined, why: string | undefined] {
  try {
    return [statSync(path, { throwIfNoEntry: false }), undefined]
  } catch (error) {
    return [undefined, systemReason(error)]
  }
}

async function fetchArchive(url: URL, options: ResolveOptions, signal: AbortSignal): Promise<ResolvedArchive> {
  const { downloadArchive } = await import('./archive-download.ts')
  const path = await downloadArchive(url, options, signal)
  return { path, name: redactUrl(url), baseDir: process.cwd(), url }
}

function hubUrl(hub: string, name: string): URL {
  const base = checkHub(hub)
  base.pathname = `${base.pathname.replace(/\/$/, '')}/${name.split('/').map(encodeURIComponent).join('/')}`
  return base
}

/** The address of a hub. Throws FLIST_USAGE. */
export function checkHub(text: string): URL {
  const url = parseUrl(text)
  if (!/^https?:$/.test(url.protocol)) throw badUrl(text)
  return url
}

function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (url === null || (url.protocol !== 'file:' && hasBareUserinfo(text))) throw badUrl(text)
  return url
}

function badUrl(text: string): FlistError {
  // The text may hold a password, and does not parse: it is not repeated.
  const scheme = /^[a-z][a-z0-9+.-]*:/i.exec(text)?.[0] ?? ''
  return new FlistError('FLIST_USAGE', `Cannot use the address "${scheme}..." as a URL`, {
    hint: hasZone(text)
      ? ZONE_HINT
      : 'Write it as http://host/path or https://host/path; in a user name and password / is %2F, ? is %3F, # is %23, @ is %40',
  })
}
