import { resolve } from 'node:path'
import { FlistError } from '../base/index.ts'

export type StoreScheme = 'dir' | 'zdb' | 'redis' | 'http' | 'https'

/** A store URL taken apart. Secrets are only in the fields that say so. */
export interface StoreUrl {
  readonly scheme: StoreScheme
  /** For people: the URL without secrets. */
  readonly name: string
  /** dir: absolute folder. zdb, redis: path of a unix socket, or ''. http: the URL without userinfo and without our parameters. */
  readonly path: string
  /** Without brackets; '' for dir and unix sockets. */
  readonly host: string
  readonly port: number
  /** zdb: namespace. redis: number of a database. '' where the URL names none. */
  readonly namespace: string
  /** Secret in part: some stores put a token here. */
  readonly user: string
  /** Secret. */
  readonly password: string
  /** Where to read a secret when the store is opened. */
  readonly secrets: SecretSources
}

export interface SecretSources {
  readonly passwordFile?: string
  readonly passwordEnv?: string
  readonly tokenFile?: string
  readonly tokenEnv?: string
}

export interface StoreRoute {
  /** First and last value of a block id's first byte, inclusive. */
  readonly start: number
  readonly end: number
  readonly url: string
}

const ZDB_PORT = 9900
const REDIS_PORT = 6379
const SUPPORTED = 'dir:///FOLDER, zdb://HOST:PORT/NAMESPACE, redis://HOST:PORT, http://HOST/PATH, https://HOST/PATH'
const LATER = new Set(['server', 's3', 's3s', 's3+tls', 's3s+tls'])
const SECRET_PARAMETERS = ['password-file', 'password-env', 'token-file', 'token-env'] as const
const SECRET_NAME = /pass|pwd|token|secret|key|sig|auth|credential|jwt/i
const RANGE = /^([0-9a-f]{2})-([0-9a-f]{2})=/i
const RANGE_LIKE = /^[^:/?#]*=/
const SCHEME = /^([a-z][a-z0-9+.-]*):/i

/** `[xx-xx=]URL` of a command line or a setting. Throws FLIST_USAGE. */
export function parseStoreRoute(text: string): StoreRoute {
  const range = RANGE.exec(text)
  if (range === null && RANGE_LIKE.test(text)) {
    throw usage(text, 'its range is not two hexadecimal bytes', 'Write a range as 00-7f=URL')
  }
  const start = range === null ? 0x00 : Number.parseInt(range[1] ?? '', 16)
  const end = range === null ? 0xff : Number.parseInt(range[2] ?? '', 16)
  if (start > end) throw usage(text, 'its range ends before it starts', 'Write a range as 00-7f=URL')
  const url = range === null ? text : text.slice(range[0].length)
  parseStoreUrl(url, '/')
  return { start, end, url }
}

/** Takes a store URL apart; `dir:folder` is taken from `baseDir`. Throws FLIST_USAGE. */
export function parseStoreUrl(url: string, baseDir: string): StoreUrl {
  const scheme = SCHEME.exec(url)?.[1]?.toLowerCase() ?? ''
  if (scheme === 'dir') return parseDir(url, baseDir)
  if (LATER.has(scheme))
    throw usage(url, `scheme "${scheme}" is not supported yet by this version`, `Use one of ${SUPPORTED}`)
  if (scheme !== 'zdb' && scheme !== 'redis' && scheme !== 'http' && scheme !== 'https') {
    throw usage(url, scheme === '' ? 'it has no scheme' : `scheme "${scheme}" is unknown`, `Use one of ${SUPPORTED}`)
  }
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch {
    throw usage(url, 'it is not a URL', `Use one of ${SUPPORTED}`)
  }
  return scheme === 'http' || scheme === 'https' ? parseHttp(url, scheme, parsed) : parseZdb(url, scheme, parsed)
}

// The path is taken as it is written: rfs neither encodes nor decodes what it finds in a route.
function parseDir(url: string, baseDir: string): StoreUrl {
  let path = url.slice('dir:'.length)
  // `dir://tmp/x` means /x: rfs ignores the host.
  if (path.startsWith('//')) path = /^\/\/[^/]*(\/.*)?$/.exec(path)?.[1] ?? ''
  if (path === '' || path.includes('\0')) throw usage(url, 'it names no folder', 'Write dir:///FOLDER')
  return { ...NOTHING, scheme: 'dir', name: redactUrl(url), path: resolve(baseDir, path) }
}

const NOTHING = { path: '', host: '', port: 0, namespace: '', user: '', password: '', secrets: {} } as const

function parseHttp(url: string, scheme: 'http' | 'https', parsed: URL): StoreUrl {
  const secrets = takeSecrets(parsed)
  const { user, password } = userinfo(url, parsed)
  parsed.username = ''
  parsed.password = ''
  parsed.hash = ''
  return {
    ...NOTHING,
    scheme,
    name: redactUrl(url),
    path: parsed.href,
    host: bareHost(parsed),
    user,
    password,
    secrets,
  }
}

function parseZdb(url: string, scheme: 'zdb' | 'redis', parsed: URL): StoreUrl {
  const secrets = takeSecrets(parsed)
  const login = userinfo(url, parsed)
  // The URL of a socket has no place for userinfo.
  const { user, password } =
    login.password === '' ? { ...login, password: parsed.searchParams.get('password') ?? '' } : login
  const path = decode(url, parsed.pathname)
  const asked = parsed.searchParams.get('namespace') ?? ''
  if (parsed.hostname === '') {
    if (path.length < 2) throw usage(url, 'it names no host and no socket', `Use one of ${SUPPORTED}`)
    return { ...NOTHING, scheme, name: redactUrl(url), path, namespace: asked, user, password, secrets }
  }
  const namespace = path.replace(/^\//, '') || asked
  if (namespace.includes('/')) throw usage(url, 'its namespace has a slash', `Write ${scheme}://HOST:PORT/NAMESPACE`)
  if (scheme === 'redis' && !/^\d{0,5}$/.test(namespace)) {
    throw usage(url, 'its database is not a number', 'Write redis://HOST:PORT/0')
  }
  const port = parsed.port === '' ? (scheme === 'zdb' ? ZDB_PORT : REDIS_PORT) : Number(parsed.port)
  return { ...NOTHING, scheme, name: redactUrl(url), host: bareHost(parsed), port, namespace, user, password, secrets }
}

function bareHost(parsed: URL): string {
  return parsed.hostname.replace(/^\[(.*)\]$/, '$1')
}

function userinfo(url: string, parsed: URL): { user: string; password: string } {
  return { user: decode(url, parsed.username), password: decode(url, parsed.password) }
}

function decode(url: string, text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw usage(url, 'it has a broken % escape', 'Write % itself as %25')
  }
}

/** Takes our parameters off. The rest stays as it is written: setting URLSearchParams would encode it anew. */
function takeSecrets(parsed: URL): SecretSources {
  const [passwordFile, passwordEnv, tokenFile, tokenEnv] = SECRET_PARAMETERS.map((name) =>
    parsed.searchParams.get(name),
  )
  const rest = parsed.search
    .slice(1)
    .split('&')
    .filter((part) => !isOurs(safeDecode(part.split('=')[0] ?? '')))
  if (parsed.search !== '') parsed.search = rest.join('&')
  return {
    ...(passwordFile == null ? {} : { passwordFile }),
    ...(passwordEnv == null ? {} : { passwordEnv }),
    ...(tokenFile == null ? {} : { tokenFile }),
    ...(tokenEnv == null ? {} : { tokenEnv }),
  }
}

function isOurs(name: string): boolean {
  return SECRET_PARAMETERS.some((parameter) => parameter === name)
}

/**
 * The URL as people may see it: no userinfo (a lone user name is often a token), no query value whose name sounds like a
 * secret. Works on anything, also on what is no URL.
 */
export function redactUrl(url: string): string {
  const question = url.indexOf('?')
  const head = (question < 0 ? url : url.slice(0, question)).replace(/(:\/\/)[^/?#]*@/, '$1***@')
  return question < 0 ? head : head + url.slice(question).replace(/([?&#])([^=&#]*)=([^&#]*)/g, hideValue)
}

function hideValue(whole: string, mark: string, name: string): string {
  return !isOurs(name) && SECRET_NAME.test(safeDecode(name)) ? `${mark}${name}=***` : whole
}

function safeDecode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // Nobody can tell what such a name means: treat its value as a secret.
    return 'secret'
  }
}

/** True where a secret stands in the URL itself, so that other users may read it in the list of processes. */
export function hasInlineSecret(url: string): boolean {
  return redactUrl(url) !== url
}

function usage(url: string, why: string, hint: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot use store "${redactUrl(url)}": ${why}`, { hint })
}
