import { setImmediate as nextTurn } from 'node:timers/promises'
import { describeError, type Log } from '../../base/index.ts'
import { prepareCodec } from '../codec-tools.ts'
import { nameOf } from './batch.ts'
import { CacheKeeper } from './keeper.ts'
import { isPossible } from './layout.ts'
import type { Location } from './layout.ts'
import { matchesKey } from './matches-key.ts'
import { SegmentFiles } from './segment-files.ts'
import { CacheView } from './view.ts'

export interface VerifyOptions {
  readonly repair: boolean
  readonly log: Log
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined
}

export interface VerifyResult {
  blocks: number
  bytes: number
  /** Blocks whose bytes are missing or do not match their key. */
  damaged: number
  /** Blocks that went or moved while this ran. */
  moved: number
  /** What is wrong with the database itself. */
  database: string | undefined
  /** True when all that was damaged is gone now. */
  repaired: boolean
}

interface Row {
  readonly key: Buffer
  readonly at: Location
}

/**
 * Hashes every block, beside running mounts. With `repair`, a segment with a damaged block is removed and its sound blocks
 * move: a mount that had the damaged one in its table meets ENOENT and fetches it again.
 * Throws FLIST_CACHE_UNUSABLE and the signal's reason.
 */
export async function verifyCache(dir: string, options: VerifyOptions, signal: AbortSignal): Promise<VerifyResult> {
  await prepareCodec()
  const result: VerifyResult = { blocks: 0, bytes: 0, damaged: 0, moved: 0, database: undefined, repaired: false }
  // Opening for writing sets a database aside that cannot be read at all.
  const unreadable = options.repair ? faultOfOpening(dir) : undefined
  const keeper = options.repair ? new CacheKeeper(dir, options.log) : undefined
  try {
    if (unreadable !== undefined) {
      result.database = unreadable
      result.repaired = true
      return result
    }
    const view = CacheView.open(dir)
    if (view === undefined) return result
    const files = new SegmentFiles(dir)
    try {
      result.database = view.fault()
      if (result.database === undefined) await verifyBlocks(view, files, keeper, options, result, signal)
    } finally {
      view.close()
      files.close()
    }
    if (keeper !== undefined && result.database !== undefined) {
      keeper.startAnew(Object.assign(new Error(result.database), { errcode: 11 }))
    }
    result.repaired = keeper !== undefined && (result.damaged > 0 || result.database !== undefined)
    return result
  } finally {
    keeper?.close()
  }
}

function faultOfOpening(dir: string): string | undefined {
  try {
    CacheView.open(dir)?.close()
    return undefined
  } catch (error) {
    return describeError(error)
  }
}

async function verifyBlocks(
  view: CacheView,
  files: SegmentFiles,
  keeper: CacheKeeper | undefined,
  options: VerifyOptions,
  result: VerifyResult,
  signal: AbortSignal,
): Promise<void> {
  const bySegment = await collect(view, signal)
  let total = 0
  for (const rows of bySegment.values()) for (const { at } of rows) total += at.bytes
  const known = view.segmentIds()
  for (const [segment, rows] of [...bySegment].toSorted(([a], [b]) => a - b)) {
    rows.sort((a, b) => a.at.offset - b.at.offset)
    const bad: Row[] = []
    const good: Row[] = []
    for (const row of rows) {
      const state = known.has(segment) ? check(view, files, row) : 'damaged'
      if (state === 'sound') good.push(row)
      else if (state === 'moved') result.moved += 1
      else bad.push(row)
      result.blocks += 1
      result.bytes += row.at.bytes
      options.onProgress?.(result.bytes, total)
      if (result.blocks % 16 === 0) await nextTurn()
      signal.throwIfAborted()
    }
    files.forget(segment)
    result.damaged += bad.length
    if (keeper !== undefined) await repair(keeper, segment, good, bad)
  }
}

/** All rows by segment: 100 bytes a block. */
async function collect(view: CacheView, signal: AbortSignal): Promise<Map<number, Row[]>> {
  const bySegment = new Map<number, Row[]>()
  for (const page of view.rows()) {
    for (const row of page) {
      const rows = bySegment.get(row.at.segment)
      if (rows === undefined) bySegment.set(row.at.segment, [row])
      else rows.push(row)
    }
    await nextTurn()
    signal.throwIfAborted()
  }
  return bySegment
}

function check(view: CacheView, files: SegmentFiles, { key, at }: Row): 'sound' | 'damaged' | 'moved' {
  if (isPossible(at)) {
    const bytes = files.read(at)
    if (bytes !== undefined && matchesKey(key, bytes)) return 'sound'
  }
  // Evicted or moved since the row was read.
  const current = view.find(key)
  return current?.segment === at.segment && current.offset === at.offset && current.bytes === at.bytes
    ? 'damaged'
    : 'moved'
}

async function repair(keeper: CacheKeeper, segment: number, good: readonly Row[], bad: readonly Row[]): Promise<void> {
  if (bad.length === 0) {
    keeper.commit((batch) => {
      for (const { key, at } of good) batch.confirm(key, at)
    })
    return
  }
  const names = new Set(bad.map(({ key }) => nameOf(key)))
  keeper.commit((batch) => {
    for (const { key, at } of bad) batch.drop(key, at)
  })
  await keeper.remove(
    segment,
    good.filter(({ key }) => !names.has(nameOf(key))).map(({ key }) => key),
  )
}
