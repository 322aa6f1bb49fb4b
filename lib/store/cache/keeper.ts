import { statfsSync } from 'node:fs'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { LIMITS, type Log } from '../../base/index.ts'
import { prepareCodec } from '../codec-tools.ts'
import { Appender } from './appender.ts'
import { Batch, nameOf } from './batch.ts'
import { Connection } from './connection.ts'
import { Ledger } from './ledger.ts'
import { matchesKey } from './matches-key.ts'
import { addPins, demand } from './pins.ts'
import { SegmentFiles } from './segment-files.ts'
import { isBusy, removeSegment, sweep } from './space-keeper.ts'
import { thisProcess } from './writer-identity.ts'

/** Keys back to back. */
export interface KeyList {
  readonly keys: Buffer
  readonly keyBytes: number
}

export interface PruneOptions {
  /** Removes the least recently used until the blocks have no more bytes than this. */
  readonly bytesMax?: number | undefined
  /** Removes only what was last used before; Unix seconds. */
  readonly usedBefore?: number | undefined
  /** Changes nothing, and counts what would go. */
  readonly dryRun: boolean
  /** Blocks that stay besides the pinned ones. */
  readonly protect: readonly KeyList[]
  /** Pins of this name keep nothing: they are about to go. */
  readonly unpinned?: string | undefined
}

export interface PruneResult {
  segments: number
  bytes: number
  /** Kept for pinned and mounted blocks in them. */
  keptSegments: number
  /** Kept because a process is writing there. */
  busySegments: number
  /** Pinned and mounted blocks copied out of segments that went. */
  movedBytes: number
}

interface Guarded {
  bytes: number
  readonly keys: Buffer[]
}

const MOVES_TO_A_TRANSACTION = 32
/** What the log of a removal may need. */
const ROOM_BYTES = 64 * 1024 * 1024

/** Looks after a cache folder beside the mounts that use it: takes part as one more process. Close it at the end. */
export class CacheKeeper {
  readonly dir: string
  readonly #connection: Connection
  readonly #files: SegmentFiles
  readonly #appender: Appender
  readonly #batch = new Batch()

  /** Throws FLIST_CACHE_UNUSABLE where the cache cannot be written. A damaged database starts anew. */
  constructor(dir: string, log: Log) {
    this.dir = dir
    this.#files = new SegmentFiles(dir)
    this.#appender = new Appender(this.#files, LIMITS.segmentBytes, () => undefined, false)
    this.#connection = new Connection(dir, log, () => undefined)
    try {
      this.#connection.open()
      demand(this.#connection, dir)
    } catch (error) {
      // A handle that reads would keep the next one of this process from writing.
      this.#connection.close()
      throw error
    }
  }

  get ledger(): Ledger {
    return demand(this.#connection, this.dir)
  }

  /** The database's own bytes are wrong: a new one is begun. */
  startAnew(error: unknown): void {
    this.#connection.failed(error)
    demand(this.#connection, this.dir)
  }

  /** Replaces the pins of `name`. */
  pin(name: string, keys: Buffer, keyBytes: 16 | 32): void {
    addPins(this.ledger, name, keys, keyBytes, true)
  }

  /** False when nothing was pinned under this name. */
  unpin(name: string): boolean {
    return this.ledger.removePins(name) > 0
  }

  /** Throws what SQLite and the system throw, and the signal's reason. */
  async prune(options: PruneOptions, signal: AbortSignal): Promise<PruneResult> {
    const { ledger } = this
    await prepareCodec()
    if (!options.dryRun) sweep(ledger, this.dir)
    const result: PruneResult = { segments: 0, bytes: 0, keptSegments: 0, busySegments: 0, movedBytes: 0 }
    const guarded = await guardedBlocks(ledger, options, signal)
    for (const { id, keep } of whatGoes(ledger, options, guarded, result)) {
      signal.throwIfAborted()
      if (!options.dryRun) await this.remove(id, keep)
    }
    return result
  }

  /** Removes a segment; of the blocks named, those that are sound move to another one first. Mounts meet ENOENT and ask again. */
  async remove(segment: number, keep: readonly Buffer[]): Promise<void> {
    const { ledger } = this
    for (let at = 0; at < keep.length; at += MOVES_TO_A_TRANSACTION) {
      for (const key of keep.slice(at, at + MOVES_TO_A_TRANSACTION)) this.#move(ledger, key, segment)
      ledger.transaction(() => this.#batch.write(ledger, now()))
      this.#batch.clear()
      await nextTurn()
    }
    this.#appender.abandon(segment)
    await removeSegment(ledger, this.#files, segment)
  }

  /** Commits what a caller changed in rows, in one transaction. */
  commit(work: (batch: Batch) => void): void {
    const { ledger } = this
    work(this.#batch)
    ledger.transaction(() => this.#batch.write(ledger, now()))
    this.#batch.clear()
  }

  close(): void {
    const ledger = this.#connection.current
    if (ledger !== undefined && !ledger.isReadOnly) this.#appender.seal(ledger)
    this.#connection.close()
    this.#files.close()
  }

  #move(ledger: Ledger, key: Buffer, from: number): void {
    const row = ledger.find(key)
    if (row?.location.segment !== from) return
    const bytes = this.#files.read(row.location)
    if (bytes === undefined || !matchesKey(key, bytes)) return
    const at = this.#appender.append(ledger, bytes, now())
    // The old row and the new one change places in one transaction.
    this.#batch.drop(key, row.location)
    this.#batch.add(key, at, false)
  }
}

/**
 * On a full disk not even the log has room that says what goes: takes away files of what `prune` would remove, until it has. Their
 * rows point nowhere then, until `remove`. The segments whose files went; none where there is room, or nothing may go.
 */
export async function makeRoom(dir: string, options: PruneOptions, signal: AbortSignal): Promise<readonly number[]> {
  const ledger = Ledger.forReading(dir, thisProcess())
  if (ledger === undefined) return []
  const files = new SegmentFiles(dir)
  const removed: number[] = []
  try {
    const result: PruneResult = { segments: 0, bytes: 0, keptSegments: 0, busySegments: 0, movedBytes: 0 }
    const guarded = await guardedBlocks(ledger, options, signal)
    for (const { id, keep } of whatGoes(ledger, options, guarded, result)) {
      const disk = statfsSync(dir)
      if (disk.bavail * disk.bsize >= ROOM_BYTES) break
      if (keep.length > 0 || !files.exists(id)) continue
      files.remove(id)
      removed.push(id)
    }
    return removed
  } finally {
    ledger.close()
  }
}

/** The segments that go, with the blocks that move out of them first; counts them, and those that stay. */
function* whatGoes(
  ledger: Ledger,
  { bytesMax, usedBefore }: PruneOptions,
  guarded: ReadonlyMap<number, Guarded>,
  result: PruneResult,
): Generator<{ id: number; keep: readonly Buffer[] }> {
  let total = ledger.totalBytes()
  for (const victim of ledger.victims()) {
    if (bytesMax !== undefined && total <= bytesMax) return
    if (usedBefore !== undefined && victim.used >= usedBefore) continue
    if (isBusy(ledger, victim, now())) {
      result.busySegments += 1
      continue
    }
    const kept = guarded.get(victim.id)
    // Copying the smaller part out pays.
    if (kept !== undefined && 2 * kept.bytes > victim.bytes) {
      result.keptSegments += 1
      continue
    }
    yield { id: victim.id, keep: kept?.keys ?? [] }
    const freed = Math.max(0, victim.bytes - (kept?.bytes ?? 0))
    total -= freed
    result.segments += 1
    result.bytes += freed
    result.movedBytes += kept?.bytes ?? 0
  }
}

/** By segment: the blocks that stay. */
async function guardedBlocks(
  ledger: Ledger,
  { protect, unpinned }: Pick<PruneOptions, 'protect' | 'unpinned'>,
  signal: AbortSignal,
): Promise<Map<number, Guarded>> {
  const found = new Map<number, Guarded>()
  const seen = new Set<string>()
  const note = (key: Buffer): void => {
    const name = nameOf(key)
    const at = seen.has(name) ? undefined : ledger.find(key)?.location
    if (at === undefined) return
    seen.add(name)
    const group = found.get(at.segment) ?? { bytes: 0, keys: [] }
    found.set(at.segment, group)
    group.bytes += at.bytes
    group.keys.push(key)
  }
  for (let group = ledger.pinsAfter(0); group !== undefined; group = ledger.pinsAfter(group.n)) {
    if (group.name !== unpinned) group.keys.forEach(note)
    await nextTurn()
    signal.throwIfAborted()
  }
  for (const { keys, keyBytes } of protect) {
    for (let at = 0; at < keys.length; at += keyBytes) {
      // A copy: the list is a view of a file.
      note(Buffer.from(keys.subarray(at, at + keyBytes)))
      if (at % (4096 * keyBytes) === 0) await nextTurn()
    }
    signal.throwIfAborted()
  }
  return found
}

function now(): number {
  return Math.floor(Date.now() / 1000)
}
