import { FlistError, LIMITS } from '../base/index.ts'

/** Where metrics are served. */
export type MetricsAddress = { readonly path: string } | { readonly host: string; readonly port: number }

/** `unix:/path`, `host:port` or `[::1]:port`. Throws FLIST_USAGE. */
export function parseMetricsAddress(text: string): MetricsAddress {
  const path = /^unix:(\/.+)$/s.exec(text)?.[1]
  if (path !== undefined && Buffer.byteLength(path) <= LIMITS.socketPathBytesMax) return { path }
  const [, six, name, digits] = /^(?:\[([0-9a-f:.]+)\]|([\w.-]+)):(\d{1,5})$/i.exec(text) ?? []
  const host = six ?? name
  const port = Number(digits)
  if (path === undefined && host !== undefined && port > 0 && port < 65_536) return { host, port }
  throw new FlistError('FLIST_USAGE', `Cannot serve metrics at "${text}"`, {
    hint: `Write unix:/run/flistfs/NAME.metrics (${LIMITS.socketPathBytesMax} bytes of path at most), 127.0.0.1:9100 or [::1]:9100`,
  })
}
