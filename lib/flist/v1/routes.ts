import { parse } from 'yaml'
import { LIMITS } from '../../base/index.ts'
import { beyondLimit, damaged } from '../damage.ts'
import type { Route } from '../tree-sink.ts'

const ROUTER = '"router.yaml"'
const SCHEMES = new Set(['ardb:', 'zdb:', 'redis:'])
const DEFAULT_BACKEND_PORT = 9900
/**
 * Bytes of a router.yaml. Real ones have less than one KiB; the parser's time grows with the square of what is hostile
 * (a mebibyte of tags took more than 30 s), and so does its check for equal keys, which is off.
 */
export const ROUTER_BYTES_MAX = 64 * 1024
/** Levels of brackets in a router.yaml; it needs three, and the parser recurses. */
const YAML_DEPTH_MAX = 64

/**
 * The route that the tag `backend` names, or undefined where it names none. What it says wrongly makes the store unknown (FLIST_BLOCK_NOT_ROUTED
 * at the first read, and another store can be given), not the tree unreadable.
 * `zdb://[:password@]host:port[/namespace]`: the password is the namespace's. A socket: `zdb:///path[?namespace=…&password=…]`.
 */
export function backendRoute(tag: string | undefined): Route | undefined {
  const url = tag === undefined ? undefined : backendUrl(tag)
  return url === undefined ? undefined : { start: 0, end: 255, url }
}

function backendUrl(tag: string): string | undefined {
  let backend: unknown
  try {
    backend = JSON.parse(tag)
  } catch {
    return undefined
  }
  if (typeof backend !== 'object' || backend === null) return undefined
  const field = (name: string): string => {
    const value: unknown = Reflect.get(backend, name)
    return typeof value === 'string' ? value : ''
  }
  const namespace = field('namespace')
  const password = field('password')
  const socket = field('socket')
  if (socket.startsWith('/')) {
    const query = new URLSearchParams()
    if (namespace !== '') query.set('namespace', namespace)
    if (password !== '') query.set('password', password)
    const path = socket.split('/').map(encodeURIComponent).join('/')
    return `zdb://${path}${query.size > 0 ? `?${query.toString()}` : ''}`
  }
  const port: unknown = Reflect.get(backend, 'port') ?? DEFAULT_BACKEND_PORT
  const host = urlHost(field('host'))
  if (host === undefined || typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65535) {
    return undefined
  }
  const secret = password === '' ? '' : `:${encodeURIComponent(password)}@`
  return `zdb://${secret}${host}:${port}${namespace === '' ? '' : `/${encodeURIComponent(namespace)}`}`
}

/** A host as it stands in a URL: IPv6 in brackets. */
function urlHost(host: string): string | undefined {
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host
  if (/^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(bare)) return `[${bare}]`
  return /^[\w.-]+$/.test(bare) ? bare : undefined
}

/**
 * The routes of a router.yaml (flist-v1.md 8) in the order of its `lookup`. A range of more than its first byte is widened to that. URLs become
 * `redis://[:password@]host[:port]`: the user name there is the AUTH password. Throws FLIST_ARCHIVE_DAMAGED, FLIST_LIMIT.
 */
export function routerRoutes(yaml: Buffer): Route[] {
  const { pools, lookup } = parseRouter(yaml)
  const routes: Route[] = []
  for (const pool of lookup) {
    const rules = typeof pool === 'string' ? pools.get(pool) : undefined
    if (!(rules instanceof Map)) throw damaged(ROUTER, `its lookup names a pool it does not have`)
    for (const [range, url] of rules as Map<unknown, unknown>) {
      if (typeof range !== 'string' || typeof url !== 'string')
        throw damaged(ROUTER, 'a pool is not a map of ranges to URLs')
      if (routes.length === LIMITS.routesMax) throw beyondLimit(ROUTER, `it has more than ${LIMITS.routesMax} routes`)
      const [start, end] = rangeBytes(range)
      // 0-fs takes such a rule and never finds a block by it.
      if (start <= end) routes.push({ start, end, url: routerUrl(url) })
    }
  }
  return routes
}

function parseRouter(yaml: Buffer): { pools: Map<unknown, unknown>; lookup: unknown[] } {
  if (yaml.length > ROUTER_BYTES_MAX) throw beyondLimit(ROUTER, `it has more than ${ROUTER_BYTES_MAX} bytes`)
  const text = yaml.toString()
  checkDepth(text)
  let router: unknown
  try {
    // "failsafe": every scalar stays the text it is, so that the range 00 is not the number 0.
    router = parse(text, {
      schema: 'failsafe',
      mapAsMap: true,
      maxAliasCount: 100,
      uniqueKeys: false,
      logLevel: 'error',
    })
  } catch (error) {
    throw damaged(ROUTER, `it is not valid YAML`, error)
  }
  const pools: unknown = router instanceof Map ? router.get('pools') : undefined
  const lookup: unknown = router instanceof Map ? router.get('lookup') : undefined
  if (!(pools instanceof Map) || !Array.isArray(lookup)) throw damaged(ROUTER, 'it has no pools, or no lookup')
  return { pools, lookup }
}

/** Nesting comes from brackets, or from deeper and deeper lines. */
function checkDepth(text: string): void {
  let brackets = 0
  for (const line of text.split('\n')) {
    for (const char of line) {
      if (char === '[' || char === '{') brackets += 1
      else if (char === ']' || char === '}') brackets -= 1
    }
    const indent = line.length - line.trimStart().length
    const dashes = /^(?:[-?:]\s+)*/.exec(line.trimStart())?.[0].length ?? 0
    if (brackets > YAML_DEPTH_MAX || indent + dashes > 2 * YAML_DEPTH_MAX)
      throw damaged(ROUTER, 'it is nested too deeply')
  }
}

/** First bytes of both ends. */
function rangeBytes(range: string): [number, number] {
  const match = /^([0-9a-f]+)(?::([0-9a-f]+))?$/i.exec(range)
  if (match?.[1] === undefined) throw damaged(ROUTER, `its range "${range.slice(0, 64)}" is not hexadecimal`)
  // An odd digit at the end stands for its byte's upper half.
  const bytes = (hex: string): string => (hex.length % 2 === 0 ? hex : `${hex}0`)
  const start = bytes(match[1])
  const end = bytes(match[2] ?? match[1])
  if (start.length !== end.length) throw damaged(ROUTER, `its range "${range.slice(0, 64)}" has ends of two lengths`)
  return [Number.parseInt(start.slice(0, 2), 16), Number.parseInt(end.slice(0, 2), 16)]
}

function routerUrl(text: string): string {
  // The URL may hold a password: messages do not show it.
  const url = URL.parse(text)
  if (url === null || !SCHEMES.has(url.protocol) || url.hostname === '') {
    throw damaged(ROUTER, 'one of its URLs is not ardb, zdb or redis with a host')
  }
  const secret = url.username === '' ? '' : `:${url.username}@`
  return `redis://${secret}${url.host}`
}
