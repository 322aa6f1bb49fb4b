import { readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { namesIn } from '../base/index.ts'
import { LAYOUT_VERSION } from './layout.ts'

/** An index file in a cache folder. */
export interface ShelvedIndex {
  /** SHA-256 of its archive, hex. */
  readonly digest: string
  readonly path: string
  readonly bytes: number
  /** Of the layout that this flistfs reads. */
  readonly isCurrent: boolean
  /** Milliseconds since 1970 of the last use, as far as the file's times tell. */
  readonly usedMs: number
  remove(): void
}

/** Which archive lies at a path: so that it need not be hashed at each mount. */
export interface DigestRecord {
  readonly digest: string
  /** Of the archive; undefined in records of earlier versions. */
  readonly archive: string | undefined
  readonly usedMs: number
  remove(): void
}

/** Every index in the folder, those of other layouts too. What is being made is left out. */
export function shelvedIndexes(cacheDir: string): ShelvedIndex[] {
  const root = join(cacheDir, 'v1', 'index')
  const found: ShelvedIndex[] = []
  for (const layout of namesIn(root)) {
    if (!/^\d{1,9}$/.test(layout)) continue
    for (const name of namesIn(join(root, layout))) {
      const digest = /^([0-9a-f]{64})\.idx$/.exec(name)?.[1]
      const path = join(root, layout, name)
      const stat = statSync(path, { throwIfNoEntry: false })
      if (digest === undefined || stat === undefined) continue
      const remove = (): void => {
        rmSync(`${path}.ok`, { force: true })
        rmSync(path, { force: true })
      }
      const isCurrent = layout === String(LAYOUT_VERSION)
      found.push({ digest, path, bytes: stat.size, isCurrent, usedMs: Math.max(stat.atimeMs, stat.mtimeMs), remove })
    }
  }
  return found
}

export function digestRecords(cacheDir: string): DigestRecord[] {
  const root = join(cacheDir, 'v1', 'digests')
  const found: DigestRecord[] = []
  for (const name of namesIn(root)) {
    // Earlier versions named them by the hash of the archive's path.
    if (!/^(?:\d+-\d+|[0-9a-f]{64})$/.test(name)) continue
    const path = join(root, name)
    try {
      const [, digest = '', archive] = readFileSync(path, 'utf8').split('\n')
      if (!/^[0-9a-f]{64}$/.test(digest)) continue
      const { atimeMs, mtimeMs } = statSync(path)
      const remove = (): void => rmSync(path, { force: true })
      found.push({ digest, archive: archive || undefined, usedMs: Math.max(atimeMs, mtimeMs), remove })
    } catch {
      // Gone meanwhile.
    }
  }
  return found
}
