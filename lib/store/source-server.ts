import { HttpSource, type Layout } from './source-http.ts'
import type { Secrets } from './store-secret.ts'
import type { WebClient } from './web-client.ts'

/** fl-server's API (fl-v1-rfs.md 6): open to all; a token is for servers that stand behind a guard. */
const LAYOUTS: readonly Layout[] = [(hex) => `/api/v1/block/${hex}`]

/** Blocks of an fl-server, by GET `<base>/api/v1/block/<id>`. */
export function openServerSource(
  name: string,
  base: string,
  secrets: Secrets,
  client: WebClient,
  lookAgain: () => Promise<Secrets>,
): HttpSource {
  return new HttpSource(name, base, secrets, client, LAYOUTS, lookAgain)
}
