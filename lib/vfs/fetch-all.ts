import { FlistError } from '../base/index.ts'
import type { FlistIndex } from '../flist/index.ts'
import type { CachedReader } from '../store/index.ts'
import { blockPlace, blockRef, plainBytes } from './block-of-file.ts'
import { S_IFMT, S_IFREG } from './tree.ts'

export interface FetchAllOptions {
  readonly index: FlistIndex
  /** Reads through the cache. */
  readonly reader: CachedReader
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined
}

export interface FetchAllResult {
  /** Block references of the archive that are in the cache now. */
  blocks: number
  bytes: number
  failed: number
  /** Fetched, but there was no room for them. */
  notKept: number
  /** The first failure. */
  error: unknown
}

/** Readers fetch as many blocks at once. */
const AT_ONCE = 64
/** So many failures in a row, and nothing since the beginning: no store answers. */
const HOPELESS = 2 * AT_ONCE

/** Brings every block of an archive into the cache, file by file. Throws FLIST_INTERRUPTED when `signal` aborts. */
export async function fetchAll(options: FetchAllOptions, signal: AbortSignal): Promise<FetchAllResult> {
  const { index, onProgress } = options
  const result: FetchAllResult = { blocks: 0, bytes: 0, failed: 0, notKept: 0, error: undefined }
  const running = new Set<Promise<void>>()
  for (const { row, nth } of blocksOf(index)) {
    signal.throwIfAborted()
    if (result.blocks === 0 && result.failed >= HOPELESS) break
    const work = fetchOne(options, row, nth, result, signal).finally(() => {
      running.delete(work)
      onProgress?.(result.bytes, index.contentBytes)
    })
    running.add(work)
    if (running.size >= AT_ONCE) await Promise.race(running)
  }
  await Promise.all(running)
  signal.throwIfAborted()
  return result
}

async function fetchOne(
  { index, reader }: FetchAllOptions,
  row: number,
  nth: number,
  result: FetchAllResult,
  signal: AbortSignal,
): Promise<void> {
  const ref = blockRef(index, row, nth, false)
  try {
    const { location } = await reader.get(ref, blockPlace(index, row, nth), signal)
    if (location === undefined) result.notKept += 1
    else result.blocks += 1
    result.bytes += ref.plainBytes
  } catch (error) {
    if (error instanceof FlistError && error.code === 'FLIST_INTERRUPTED') return
    result.failed += 1
    result.error ??= error
  }
}

function* blocksOf(index: FlistIndex): Generator<{ row: number; nth: number }> {
  for (let row = 0; row < index.rowCount; row += 1) {
    const isFile = ((index.mode[row] ?? 0) & S_IFMT) === S_IFREG && index.leader[row] === row
    if (!isFile) continue
    const count = index.count[row] ?? 0
    for (let nth = 0; nth < count; nth += 1) if (plainBytes(index, row, nth) > 0) yield { row, nth }
  }
}
