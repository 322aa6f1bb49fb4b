import { statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { FlistError, LIMITS } from '../../base/index.ts'
import { unreadable } from './database.ts'
import { isAbsent, openForReading } from './reading.ts'

export interface CacheSummary {
  readonly bytes: number
  readonly blocks: number
  readonly segments: number
  /** Groups of pinned blocks, by name. */
  readonly pins: readonly string[]
  /** The limit of whoever opened the cache last; 0 where nobody has. */
  readonly bytesMax: number
}

/** Totals of a cache folder, for people; zeros where there is none. Throws FLIST_CACHE_UNUSABLE where it cannot be read. */
export function cacheSummary(dir: string): CacheSummary {
  if (isAbsent(dir)) return { bytes: 0, blocks: 0, segments: 0, pins: [], bytesMax: 0 }
  let db: DatabaseSync | undefined
  try {
    db = openForReading(dir)?.db
    if (db === undefined) throw new Error('it belongs to another user, or others may write it')
    const number = (sql: string): number => Number(db?.prepare(sql).get()?.['n'] ?? 0)
    return {
      bytes: number('SELECT coalesce(sum(bytes), 0) AS n FROM segment'),
      blocks: number('SELECT count(*) AS n FROM block'),
      segments: number('SELECT count(*) AS n FROM segment'),
      pins: db
        .prepare('SELECT DISTINCT name FROM pin ORDER BY name')
        .all()
        .map((row) => String(row['name'])),
      bytesMax: number("SELECT value AS n FROM meta WHERE name = 'bytes_max'"),
    }
  } catch (cause) {
    if (cause instanceof FlistError) throw cause
    throw unreadable(dir, cause)
  } finally {
    db?.close()
  }
}

/** `LIMITS.cacheBytesDefault` or a quarter of the disk that holds (or will hold) `dir`, the smaller. */
export function defaultCacheBytes(dir: string): number {
  for (let path = dir; ; path = dirname(path)) {
    try {
      const disk = statfsSync(path)
      return Math.min(LIMITS.cacheBytesDefault, Math.floor((disk.blocks * disk.bsize) / 4))
    } catch {
      if (path === dirname(path)) return LIMITS.cacheBytesDefault
    }
  }
}
