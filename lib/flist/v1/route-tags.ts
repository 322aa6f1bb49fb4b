import { LIMITS } from '../../base/index.ts'
import type { Route } from '../tree-sink.ts'

/** Where our archives say where blocks are that the format's own `backend` cannot name: JSON, `[{"start", "end", "url"}]`. */
export const ROUTES_TAG = 'x-routes'
/** The format's own; flist-v1.md. */
export const BACKEND_TAG = 'backend'

/**
 * The tags of an archive with these routes, in their order. One store that is a 0-db or a redis for all blocks is the format's
 * `backend`, which rfs and zflist read; any others only we read.
 */
export function routeTags(tags: ReadonlyMap<string, string>, routes: readonly Route[]): [string, string][] {
  const all = new Map(tags)
  // Of an archive that was read they say what its routes say: twice would be each store twice.
  if (routes.length > 0) for (const name of [BACKEND_TAG, ROUTES_TAG]) all.delete(name)
  const [only] = routes
  const backend = routes.length === 1 && only !== undefined ? backendOf(only) : undefined
  if (backend !== undefined) all.set(BACKEND_TAG, backend)
  else if (routes.length > 0)
    all.set(ROUTES_TAG, JSON.stringify(routes.map(({ start, end, url }) => ({ start, end, url }))))
  return [...all].sort(([a], [b]) => (a < b ? -1 : 1))
}

function backendOf({ start, end, url }: Route): string | undefined {
  const parsed = URL.parse(url)
  if (start !== 0 || end !== 255 || parsed === null || parsed.search !== '' || parsed.username !== '') return undefined
  if (parsed.protocol !== 'zdb:' || parsed.hostname === '') return undefined
  const namespace = decodeURIComponent(parsed.pathname.slice(1)) || 'default'
  const password = decodeURIComponent(parsed.password)
  const port = parsed.port === '' ? 9900 : Number(parsed.port)
  const host = parsed.hostname.replace(/^\[(.*)\]$/, '$1')
  // As jansson writes it.
  const fields: [string, string | number][] = [
    ['namespace', namespace],
    ['host', host],
    ['port', port],
    ...(password === '' ? [] : [['password', password] as [string, string]]),
  ]
  return `{${fields.map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(', ')}}`
}

/** The routes in our own tag; none where it says something else. */
export function taggedRoutes(tag: string | undefined): Route[] {
  let value: unknown
  try {
    value = tag === undefined ? [] : JSON.parse(tag)
  } catch {
    return []
  }
  if (!Array.isArray(value) || value.length > LIMITS.routesMax) return []
  return value.every(isRoute) ? value.map(({ start, end, url }) => ({ start, end, url })) : []
}

function isRoute(value: unknown): value is Route {
  if (typeof value !== 'object' || value === null) return false
  const { start, end, url } = value as Record<string, unknown>
  return isByte(start) && isByte(end) && typeof url === 'string' && url.length <= LIMITS.routeUrlBytesMax
}

function isByte(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 255
}
