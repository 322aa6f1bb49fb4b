import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** A downloaded archive kept in a cache folder. */
export interface ShelvedArchive {
  /** SHA-256, hex: its name says so. */
  readonly digest: string
  readonly path: string
  readonly bytes: number
  /** Milliseconds since 1970 of the last use, as far as the file's times tell. */
  readonly usedMs: number
  remove(): void
}

/** Which archive a URL gave last. */
export interface UrlNote {
  readonly digest: string
  /** Without credentials. */
  readonly url: string
  remove(): void
}

export function shelvedArchives(cacheDir: string): ShelvedArchive[] {
  return filesIn(join(cacheDir, 'v1', 'archives'), /^([0-9a-f]{64})$/, (path, digest) => {
    const { size, atimeMs, mtimeMs } = statSync(path)
    const remove = (): void => rmSync(path, { force: true })
    return { digest, path, bytes: size, usedMs: Math.max(atimeMs, mtimeMs), remove }
  })
}

export function urlRecords(cacheDir: string): UrlNote[] {
  return filesIn(join(cacheDir, 'v1', 'urls'), /^([0-9a-f]{64})\.json$/, (path) => {
    const record = JSON.parse(readFileSync(path, 'utf8')) as { url?: unknown; sha256?: unknown }
    if (typeof record.url !== 'string' || typeof record.sha256 !== 'string') return undefined
    return { digest: record.sha256, url: record.url, remove: () => rmSync(path, { force: true }) }
  })
}

/** What cannot be read, or is gone meanwhile, is left out. */
function filesIn<T>(dir: string, names: RegExp, read: (path: string, digest: string) => T | undefined): T[] {
  const found: T[] = []
  let entries: string[] = []
  try {
    entries = readdirSync(dir)
  } catch {
    return found
  }
  for (const name of entries) {
    const match = names.exec(name)?.[1]
    if (match === undefined) continue
    try {
      const one = read(join(dir, name), match)
      if (one !== undefined) found.push(one)
    } catch {
      continue
    }
  }
  return found
}
