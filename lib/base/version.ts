import { existsSync, readFileSync } from 'node:fs'

/** The version in package.json: one folder up from `dist`, two from here in the source. */
export function packageVersion(): string {
  const candidates = ['../package.json', '../../package.json'].map((path) => new URL(path, import.meta.url))
  const url = candidates.find((candidate) => existsSync(candidate))
  const fields = url === undefined ? {} : (JSON.parse(readFileSync(url, 'utf8')) as { version?: string })
  return fields.version ?? 'unknown'
}
