import { resolve } from 'node:path'
import { FlistError } from '../base/index.ts'

export type StoreScheme = 'dir' | 'zdb' | 'redis' | 'http' | 'https' | 'server' | 's3' | 's3s'

/** A store URL taken apart. Secrets are only in the fields that say so. */
export interface StoreUrl {
  readonly scheme: StoreScheme
  /** For people: the URL without secrets. */
  readonly name: string
  /**
   * dir: absolute folder. zdb, redis: path of a unix socket, or ''. http, server: the http(s) URL without userinfo and without
   * our parameters. s3, s3s: the http(s) URL of the endpoint.
   */
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
  /** server: what `?token=` gives. Secret. */
  readonly token: string
  /** s3: the bucket, and what stands before the name of each object, '' or without slashes at its ends. */
  readonly bucket: string
  readonly prefix: string
  /** s3: '' where the URL names none. */
  readonly region: string
  /** Where to read a secret when the store is opened. */
  readonly secrets: SecretSources
}

export interface SecretSources {
  readonly passwordFile?: string
  readonly passwordEnv?: string
  readonly tokenFile?: string
  readonly tokenEnv?: string
  /** PEM files for TLS: who may sign the server's certificate; who we are. */
  readonly caFile?: string
  readonly certFile?: string
  readonly keyFile?: string
}

export interface StoreRoute {
  /** First and last value of a block id's first byte, inclusive. */
  readonly start: number
  readonly end: number
  readonly url: string
}

const ZDB_PORT = 9900
const REDIS_PORT = 6379
const SUPPORTED =
  'dir:///FOLDER, zdb://HOST:PORT/NAMESPACE, redis://HOST:PORT, http://HOST/PATH, https://HOST/PATH, ' +
  's3://HOST:PORT/BUCKET, s3s://HOST/BUCKET, server://http://HOST:PORT'
const S3_SCHEMES: Readonly<Record<string, 's3' | 's3s'>> = { s3: 's3', s3s: 's3s', 's3+tls': 's3s', 's3s+tls': 's3s' }
const SERVER_SCHEME = /^server(?:\+(https?))?:\/\/(?:(https?):\/\/)?/i
/** Our parameters and the fields they fill. */
const SECRET_PARAMETERS = {
  'password-file': 'passwordFile',
  'password-env': 'passwordEnv',
  'token-file': 'tokenFile',
  'token-env': 'tokenEnv',
  'ca-file': 'caFile',
  'cert-file': 'certFile',
  'key-file': 'keyFile',
} as const satisfies Record<string, keyof SecretSources>
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

/** Takes a store URL apart; `dir:folder` and files with secrets are taken from `baseDir`. Throws FLIST_USAGE. */
export function parseStoreUrl(url: string, baseDir: string): StoreUrl {
  const store = takeApart(url, baseDir)
  const secrets = Object.entries(store.secrets).map(([field, value]: [string, string]) => {
    return [field, field.endsWith('File') && value !== '' ? resolve(baseDir, value) : value]
  })
  return { ...store, secrets: Object.fromEntries(secrets) as SecretSources }
}

function takeApart(url: string, baseDir: string): StoreUrl {
  const scheme = SCHEME.exec(url)?.[1]?.toLowerCase() ?? ''
  if (scheme === 'dir') return parseDir(url, baseDir)
  if (hasBareUserinfo(url))
    throw usage(
      url,
      'its user or password is not encoded',
      'Write / in it as %2F, ? as %3F, # as %23 and @ as %40, or put it into a file: see docs/stores.md',
    )
  if (SERVER_SCHEME.test(url)) return parseServer(url)
  const s3 = Object.hasOwn(S3_SCHEMES, scheme) ? S3_SCHEMES[scheme] : undefined
  if (s3 !== undefined) return parseS3(url, s3)
  if (scheme !== 'zdb' && scheme !== 'redis' && scheme !== 'http' && scheme !== 'https') {
    throw usage(url, scheme === '' ? 'it has no scheme' : `scheme "${scheme}" is unknown`, `Use one of ${SUPPORTED}`)
  }
  const parsed = asUrl(url, url)
  return scheme === 'http' || scheme === 'https' ? parseHttp(url, scheme, parsed) : parseZdb(url, scheme, parsed)
}

function asUrl(url: string, text: string): URL {
  try {
    return new URL(text)
  } catch {
    if (hasZone(url)) throw usage(url, 'an IPv6 address with a zone has no place in a URL', ZONE_HINT)
    throw usage(url, 'it is not a URL', `Use one of ${SUPPORTED}`)
  }
}

export const ZONE_HINT = 'Write an address of that host which means the same on every link, as fd00::1, or its name'

/** True for `[fe80::1%eth0]` as host, also where its % is encoded: the URL standard leaves zones out (url.spec.whatwg.org, "host parsing"). */
export function hasZone(url: string): boolean {
  return /^[^/]*\/\/(?:https?:\/\/)?(?:[^/?#]*@)?\[[^\]/?#]*%[^\]/?#]*\]/i.test(url)
}

// The path is taken as it is written: rfs neither encodes nor decodes what it finds in a route.
function parseDir(url: string, baseDir: string): StoreUrl {
  let path = url.slice('dir:'.length)
  // `dir://tmp/x` means /x: rfs ignores the host.
  if (path.startsWith('//')) path = /^\/\/[^/]*(\/.*)?$/.exec(path)?.[1] ?? ''
  if (path === '' || path.includes('\0')) throw usage(url, 'it names no folder', 'Write dir:///FOLDER')
  return { ...NOTHING, scheme: 'dir', name: redactUrl(url), path: resolve(baseDir, path) }
}

const NOTHING = {
  path: '',
  host: '',
  port: 0,
  namespace: '',
  user: '',
  password: '',
  token: '',
  bucket: '',
  prefix: '',
  region: '',
  secrets: {},
} as const

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
    port: portOf(parsed),
    user,
    password,
    secrets,
  }
}

/** `server://http://HOST:PORT?token=JWT`: the API of fl-server (fl-v1-rfs.md 3 and 6). */
function parseServer(url: string): StoreUrl {
  const [head = '', outer, inner] = SERVER_SCHEME.exec(url) ?? []
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(url.slice(head.length)))
    throw usage(url, 'the server speaks neither http nor https', 'Write server://http://HOST:PORT')
  const scheme = inner ?? outer ?? 'http'
  const parsed = asUrl(url, `${scheme}://${url.slice(head.length)}`)
  const token = parsed.searchParams.get('token') ?? ''
  parsed.search = without(parsed.search, (name) => name === 'token')
  return { ...parseHttp(url, scheme.toLowerCase() === 'https' ? 'https' : 'http', parsed), scheme: 'server', token }
}

/** `s3://[ACCESS:SECRET@]HOST[:PORT]/BUCKET[/PREFIX][?region=NAME]`, addressed by path. */
function parseS3(url: string, scheme: 's3' | 's3s'): StoreUrl {
  const rest = /^[^:]*:\/\/(.*)$/s.exec(url)?.[1]
  if (rest === undefined) throw usage(url, 'it names no host', `Write ${scheme}://HOST:PORT/BUCKET`)
  const parsed = asUrl(url, `${scheme === 's3' ? 'http' : 'https'}://${rest}`)
  const secrets = takeSecrets(parsed)
  const [bucket = '', ...folders] = decode(url, parsed.pathname).split('/').filter(Boolean)
  if (bucket === '') throw usage(url, 'it names no bucket', `Write ${scheme}://HOST:PORT/BUCKET`)
  return {
    ...NOTHING,
    ...userinfo(url, parsed),
    scheme,
    name: redactUrl(url),
    path: parsed.origin,
    host: bareHost(parsed),
    port: portOf(parsed),
    bucket,
    prefix: folders.join('/'),
    region: parsed.searchParams.get('region') ?? '',
    secrets,
  }
}

function portOf(parsed: URL): number {
  return parsed.port === '' ? (parsed.protocol === 'https:' ? 443 : 80) : Number(parsed.port)
}

function parseZdb(url: string, scheme: 'zdb' | 'redis', parsed: URL): StoreUrl {
  const secrets = takeSecrets(parsed)
  if (secrets.caFile !== undefined || secrets.certFile !== undefined || secrets.keyFile !== undefined) {
    throw usage(url, `${scheme} has no TLS`, 'Leave ca-file, cert-file and key-file out')
  }
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
  const secrets: { -readonly [Field in keyof SecretSources]: string } = {}
  for (const [name, field] of Object.entries(SECRET_PARAMETERS)) {
    const value = parsed.searchParams.get(name)
    if (value !== null) secrets[field] = value
  }
  parsed.search = without(parsed.search, isOurs)
  return secrets
}

function without(search: string, isTaken: (name: string) => boolean): string {
  const rest = search.slice(1).split('&')
  return rest.filter((part) => !isTaken(safeDecode(part.split('=')[0] ?? ''))).join('&')
}

function isOurs(name: string): boolean {
  return Object.hasOwn(SECRET_PARAMETERS, name)
}

/** What stands before user and password: a range, the scheme and its slashes. */
const HEAD = /^(?:[^:/?#@]*=)?[a-z][a-z0-9+.-]*:[\\/]*(?:https?:\/\/)?/i
/** A host and what cannot be its port: `KEY:SEC` of `KEY:SEC/RET@HOST`. */
const NO_PORT = /:(?!\d{1,5}$)[^\]]*$/
/** Or what may be one: `KEY:12` of `KEY:12/RET@HOST`. */
const PORT = /^(?<name>[^[\]]*):\d{1,5}$/
/** Of these the path has an `@` only where it is none. */
const NO_AT_IN_PATH = /^(?:[^:/?#@]*=)?(?:zdb|redis):/i
/** A bucket cannot have one. */
const S3 = /^(?:[^:/?#@]*=)?s3s?(?:\+tls)?:/i

/**
 * True where `name:digits` begins a password with a slash rather than naming a host: the host is empty, or has no dot, and an `@` stands
 * where none belongs. The path of a web server may begin a part with one: `http://host:8080/@scope/x`.
 */
function isSecretWithSlash(url: string, authority: string, after: string): boolean {
  const name = PORT.exec(authority)?.groups?.['name']
  if (name === undefined) return false
  if (name === '' || NO_AT_IN_PATH.test(url)) return true
  const isS3 = S3.test(url)
  if (isS3 && /^\/[^/?#]*@/.test(after)) return true
  const isKey = !name.includes('.') && name.toLowerCase() !== 'localhost'
  return isKey && (isS3 ? /^\/[^?#]*@/ : /^\/[^?#]*[^/?#]@/).test(after)
}

/**
 * Where user and password are, `@` and all. `isBare`: one has a character that ends the host where it is not encoded, so that what a
 * parser makes of the URL is wrong.
 */
function findUserinfo(url: string): { from: number; to: number; isBare: boolean } | undefined {
  const from = HEAD.exec(url)?.[0].length ?? 0
  const authority = /^[^/?#]*/.exec(url.slice(from))?.[0] ?? ''
  const at = authority.lastIndexOf('@')
  if (at >= 0) return { from, to: from + at + 1, isBare: false }
  const last = url.lastIndexOf('@')
  if (last < from || /^(?:[^:/?#@]*=)?dir:/i.test(url)) return undefined
  const isBare = NO_PORT.test(authority) || isSecretWithSlash(url, authority, url.slice(from + authority.length))
  if (!isBare) return undefined
  return { from, to: last + 1, isBare: true }
}

/** True where user or password is not encoded, so that no parser finds them. */
export function hasBareUserinfo(url: string): boolean {
  return findUserinfo(url)?.isBare === true
}

/** The URL with something else in the place of user, password and their `@`. */
export function replaceUserinfo(url: string, instead: string): string {
  const found = findUserinfo(url)
  return found === undefined ? url : url.slice(0, found.from) + instead + url.slice(found.to)
}

/**
 * The URL as people may see it: no userinfo (a lone user name is often a token), no query value whose name sounds like a
 * secret. Works on anything, also on what is no URL.
 */
export function redactUrl(url: string): string {
  const shown = replaceUserinfo(url, '***@')
  const tail = shown.search(/[?#]/)
  return tail < 0 ? shown : shown.slice(0, tail) + shown.slice(tail).replace(/([?&#])([^=&#]*)=([^&#]*)/g, hideValue)
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
