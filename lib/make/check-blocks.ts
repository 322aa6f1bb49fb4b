import { setImmediate as nextTurn } from 'node:timers/promises'
import { FlistError, LIMITS } from '../base/index.ts'
import { FILE_TYPE, type FlistIndex, KeySet } from '../flist/index.ts'
import { type BlockRef, decodeBlock, prepareCodec, type WholeStore } from '../store/index.ts'
import { Slots } from './unpack/slots.ts'

export interface CheckRequest {
  readonly index: FlistIndex
  readonly stores: readonly WholeStore[]
  /** Blocks are fetched and decoded; else they are only looked for. */
  readonly deep: boolean
  /** What is missing or damaged in one store is put there from another that has it, or from `others`. */
  readonly repair: boolean
  /** Asked for blocks that none of `stores` has; never written. */
  readonly others: readonly WholeStore[]
  /** Plain bytes of the blocks that were checked, and of all content. */
  readonly onProgress?: ((bytes: number, total: number) => void) | undefined
}

/** A block that is wrong in one store. */
export interface BlockFault {
  /** Hex. */
  readonly id: string
  readonly store: string
  readonly fault: 'missing' | 'damaged'
  /** A file that it belongs to. */
  readonly path: string
  repaired: boolean
}

export interface CheckResult {
  /** Different blocks, and how many stores were asked for them in all. */
  blocks: number
  checks: number
  missing: number
  damaged: number
  repaired: number
  /** Blocks that no store takes by its range. */
  unrouted: number
  readonly faults: BlockFault[]
}

const FAULTS_MAX = 10_000
const AT_ONCE = 32
/** Blocks that are seen at once between two looks at what else there is to do. */
const BLOCKS_PER_TURN = 256

/**
 * Looks for every block of an archive in every store that should have it. Throws FLIST_STORE_*, FLIST_TIMEOUT where a store does not answer
 * (a store that is away has not lost its blocks), FLIST_INTERRUPTED.
 */
export async function checkBlocks(request: CheckRequest, signal: AbortSignal): Promise<CheckResult> {
  await prepareCodec()
  const { index, onProgress } = request
  const result: CheckResult = { blocks: 0, checks: 0, missing: 0, damaged: 0, repaired: 0, unrouted: 0, faults: [] }
  const slots = new Slots(AT_ONCE)
  const rows = filesOf(index)
  const firsts = firstNamed(index)
  let failure: unknown
  let bytes = 0
  const running = new Set<Promise<void>>()
  for (const { row, nth, block } of rows) {
    if (firsts[block] === 0) continue
    if (failure !== undefined || signal.aborted) break
    const seen = request.deep ? 0 : seenAtOnce(request, row, nth)
    if (seen > 0) {
      result.checks += seen
      result.blocks += 1
      bytes += plainBytes(index, row, nth)
      if (result.blocks % BLOCKS_PER_TURN !== 0) continue
      onProgress?.(bytes, index.contentBytes)
      await nextTurn()
      continue
    }
    await slots.take()
    const work = checkOne(request, row, nth, result, signal)
      .catch((error: unknown) => void (failure ??= error))
      .finally(() => {
        slots.give()
        running.delete(work)
        result.blocks += 1
        bytes += plainBytes(index, row, nth)
        onProgress?.(bytes, index.contentBytes)
      })
    running.add(work)
  }
  await Promise.all(running)
  if (failure !== undefined) throw failure
  signal.throwIfAborted()
  return result
}

/** How many stores should have the block, where all of them are seen to have it without waiting; else 0. */
function seenAtOnce({ index, stores }: CheckRequest, row: number, nth: number): number {
  const { hashBytes, ids, first } = index
  const at = ((first[row] ?? 0) + nth) * hashBytes
  const id = ids.subarray(at, at + hashBytes)
  let takers = 0
  for (const store of stores) {
    if (!takes(store, id)) continue
    if (!store.hasNow(id)) return 0
    takers += 1
  }
  return takers
}

async function checkOne(
  request: CheckRequest,
  row: number,
  nth: number,
  result: CheckResult,
  signal: AbortSignal,
): Promise<void> {
  const { index, stores, deep } = request
  const ref = refOf(index, row, nth)
  const takers = stores.filter((store) => takes(store, ref.id))
  if (takers.length === 0) result.unrouted += 1
  const found: BlockFault[] = []
  let good: Buffer | undefined
  for (const store of takers) {
    result.checks += 1
    const state = deep ? await fetched(store, ref, signal) : (await store.has(ref.id, signal)) ? 'there' : 'missing'
    if (Buffer.isBuffer(state)) good ??= state
    else if (state !== 'there') {
      result[state] += 1
      const path = index.pathOf(row).toString()
      found.push({ id: ref.id.toString('hex'), store: store.name, fault: state, path, repaired: false })
    }
  }
  if (found.length > 0 && request.repair) await repair(request, ref, takers, found, good, result, signal)
  for (const fault of found) if (result.faults.length < FAULTS_MAX) result.faults.push(fault)
}

async function repair(
  { stores, others }: CheckRequest,
  ref: BlockRef,
  takers: readonly WholeStore[],
  faults: readonly BlockFault[],
  known: Buffer | undefined,
  result: CheckResult,
  signal: AbortSignal,
): Promise<void> {
  let good = known
  for (const store of [...stores, ...others.filter((other) => takes(other, ref.id))]) {
    if (good !== undefined) break
    const state = await fetched(store, ref, signal)
    if (Buffer.isBuffer(state)) good = state
  }
  if (good === undefined) return
  for (const fault of faults) {
    await takers.find(({ name }) => name === fault.store)?.replace(ref.id, good, signal)
    fault.repaired = true
    result.repaired += 1
  }
}

/** The stored bytes where they are right. */
async function fetched(store: WholeStore, ref: BlockRef, signal: AbortSignal): Promise<Buffer | 'missing' | 'damaged'> {
  const stored = await store.get(ref.id, signal)
  if (stored === undefined) return 'missing'
  try {
    decodeBlock(ref, Buffer.from(stored))
    return stored
  } catch (error) {
    if (
      error instanceof FlistError &&
      (error.code === 'FLIST_BLOCK_CORRUPT' || error.code === 'FLIST_FILE_TRUNCATED')
    ) {
      return 'damaged'
    }
    throw error
  }
}

function takes({ start, end }: WholeStore, id: Buffer): boolean {
  const first = id[0] ?? 0
  return first >= start && first <= end
}

function refOf(index: FlistIndex, row: number, nth: number): BlockRef {
  const { format, hashBytes } = index
  const at = ((index.first[row] ?? 0) + nth) * hashBytes
  return {
    format,
    id: index.ids.subarray(at, at + hashBytes),
    key: index.keys.subarray(at, at + hashBytes),
    plainBytes: plainBytes(index, row, nth),
  }
}

function plainBytes(index: FlistIndex, row: number, nth: number): number {
  return Math.min(LIMITS.blockBytesMax, (index.size[row] ?? 0) - nth * LIMITS.blockBytesMax)
}

/** By block number: 1 where no earlier block has the same id. */
function firstNamed(index: FlistIndex): Uint8Array {
  const firsts = new Uint8Array(index.blockCount)
  new KeySet(index.hashBytes).add(index.ids, (nth, isNew) => (firsts[nth] = isNew ? 1 : 0))
  return firsts
}

function* filesOf(index: FlistIndex): Generator<{ row: number; nth: number; block: number }> {
  for (let row = 0; row < index.rowCount; row += 1) {
    const isFile = ((index.mode[row] ?? 0) & FILE_TYPE.mask) === FILE_TYPE.file && index.leader[row] === row
    const count = isFile ? (index.count[row] ?? 0) : 0
    const first = index.first[row] ?? 0
    for (let nth = 0; nth < count; nth += 1) {
      if ((index.size[row] ?? 0) > nth * LIMITS.blockBytesMax) yield { row, nth, block: first + nth }
    }
  }
}
