import { lstatSync, rmSync, statfsSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { LIMITS } from '../../base/index.ts'
import { namesIn, segmentFiles } from './database.ts'
import type { Ledger, SegmentRow } from './ledger.ts'
import { CACHE_LAYOUT, segmentPath } from './layout.ts'
import type { SegmentFiles } from './segment-files.ts'

/** Seconds since the last use within which a large file's segment counts as being written. */
const OWN_BUSY_S = 10
/** Seconds after which a writer in another pid namespace, whom we cannot see, no longer holds his segment. */
const UNSEEN_WRITER_S = 3600
const DAMAGED_KEPT_MS = 7 * 24 * 3600 * 1000

export interface SpaceLimits {
  readonly dir: string
  readonly bytesMax: number
  readonly freeBytesMin: number
  readonly segmentBytes: number
}

/** Copies a much-used block out of a segment that goes. */
export type Carry = (key: Buffer, from: number) => void

export interface EvictionHooks {
  /** Unix seconds. */
  now(): number
  readonly carry: Carry
  /** A segment went. */
  lost(segment: number): void
}

export interface Space {
  readonly cachedBytes: number
  readonly freeBytes: number
}

export function measureSpace(ledger: Ledger, dir: string): Space {
  const disk = statfsSync(dir)
  return { cachedBytes: ledger.totalBytes(), freeBytes: disk.bavail * disk.bsize }
}

export function isOver(space: Space, limits: SpaceLimits): boolean {
  return space.cachedBytes > limits.bytesMax || space.freeBytes < limits.freeBytesMin
}

/**
 * Removes whole segments, least recently used first, until the cache is a segment below its limit and the disk a segment
 * above its floor. Segments with pinned blocks stay, and those that somebody writes. Returns the segments that went.
 */
export async function evict(
  ledger: Ledger,
  files: SegmentFiles,
  limits: SpaceLimits,
  hooks: EvictionHooks,
): Promise<number[]> {
  if (!isOver(measureSpace(ledger, limits.dir), limits)) return []
  const slack = Math.min(limits.segmentBytes, limits.bytesMax / 2)
  const pinned = await pinnedSegments(ledger)
  const gone: number[] = []
  let space = measureSpace(ledger, limits.dir)
  const enough = (): boolean =>
    space.cachedBytes <= limits.bytesMax - slack &&
    space.freeBytes >= limits.freeBytesMin + (limits.freeBytesMin > 0 ? slack : 0)
  for (const victim of ledger.victims()) {
    if (enough()) break
    if (pinned.has(victim.id) || isBusy(ledger, victim, hooks.now())) continue
    await removeSegment(ledger, files, victim.id, hooks.carry)
    hooks.lost(victim.id)
    gone.push(victim.id)
    space = measureSpace(ledger, limits.dir)
  }
  return gone
}

/** Somebody may write there now. */
export function isBusy(ledger: Ledger, victim: SegmentRow, now: number): boolean {
  // Times in the future were written before a clock was set back: they say nothing.
  if (victim.kind === 'own') return Math.abs(victim.used - now) < OWN_BUSY_S
  if (victim.writer === ledger.process) return true
  return (
    !ledger.writerGone(victim.writer) &&
    (Math.abs(victim.used - now) < UNSEEN_WRITER_S || ledger.writerSeen(victim.writer))
  )
}

/** Rows first, in steps that leave the thread free for reads; then the file. Whoever has it open still reads it. */
export async function removeSegment(
  ledger: Ledger,
  files: SegmentFiles,
  segment: number,
  carry?: Carry,
): Promise<void> {
  ledger.markGoing(segment)
  for (;;) {
    const count = ledger.transaction(() => {
      const keys = ledger.takeRuns(segment)
      for (const key of keys) {
        carry?.(key, segment)
        ledger.dropFrom(key, segment)
      }
      return keys.length
    })
    if (count === 0) break
    await nextTurn()
  }
  ledger.dropSegment(segment)
  files.remove(segment)
}

/** Segments that hold a pinned block. */
export async function pinnedSegments(ledger: Ledger): Promise<Set<number>> {
  const pinned = new Set<number>()
  for (let group = ledger.pinsAfter(0); group !== undefined; group = ledger.pinsAfter(group.n)) {
    for (const key of group.keys) {
      const row = ledger.find(key)
      if (row !== undefined) pinned.add(row.location.segment)
    }
    await nextTurn()
  }
  return pinned
}

/** Removes what crashes left: files no row names, claims of the dead, old damaged databases. Foreign files stay. */
export function sweep(ledger: Ledger, dir: string): number[] {
  const known = ledger.segmentIds()
  const removed: number[] = []
  for (const segment of segmentFiles(dir)) {
    if (known.has(segment)) continue
    const path = segmentPath(dir, segment)
    const stat = lstatSync(path, { throwIfNoEntry: false })
    if (stat?.isFile() !== true || Math.abs(Date.now() - stat.mtimeMs) < LIMITS.orphanAgeMs) continue
    rmSync(path, { force: true })
    removed.push(segment)
  }
  ledger.forgetDead()
  ledger.clampUses(Math.floor(Date.now() / 1000))
  sweepDamaged(`${dir}/${CACHE_LAYOUT.folder}`)
  return removed
}

function sweepDamaged(folder: string): void {
  for (const name of namesIn(folder)) {
    const time = /^cache\.db\.damaged-(\d{1,16})(?:-wal|-shm)?$/.exec(name)?.[1]
    if (time !== undefined && Math.abs(Date.now() - Number(time)) > DAMAGED_KEPT_MS)
      rmSync(`${folder}/${name}`, { force: true })
  }
}
