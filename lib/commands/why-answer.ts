import { LIMITS, shownPath } from '../base/index.ts'
import { findPath } from '../flist/index.ts'
import { S_IFDIR, S_IFLNK, S_IFMT, S_IFREG } from '../vfs/index.ts'
import type { SourceState } from '../store/index.ts'
import type { ServerParts } from './server-answers.ts'

/** Blocks that are not here and shown one by one. */
const BLOCKS_SHOWN = 20

const KINDS: Readonly<Record<number, WhyAnswer['kind']>> = {
  [S_IFREG]: 'file',
  [S_IFDIR]: 'directory',
  [S_IFLNK]: 'link',
}

/** Why reading a file takes its time. */
export interface WhyAnswer {
  /** In the archive, without links. */
  readonly path: string
  /** Its bytes in hex, where some are shown as `\xNN`. */
  readonly pathHex?: string
  readonly kind: 'file' | 'directory' | 'link' | 'special'
  /** Bytes. */
  readonly size: number
  readonly blocks: {
    readonly total: number
    readonly cached: number
    readonly fetching: number
    /** Asked for a moment ago, in vain. */
    readonly failed: number
    /** Where the size calls for more blocks than the archive lists. */
    readonly lacking: number
  }
  /** Blocks that are not here, the first ones. */
  readonly absent: readonly {
    readonly block: number
    readonly id: string
    readonly state: string
    /** Names of the stores that may have it, in the order they are asked now. */
    readonly stores: readonly string[]
  }[]
  /** All stores that may have one of the blocks that are not here. */
  readonly stores: readonly SourceState[]
  /** Readers of this file that wait now. */
  readonly waiting: readonly { readonly offset: number; readonly bytes: number; readonly forMs: number }[]
  /** How long readers have waited for this file since the server began. */
  readonly waited: { readonly waits: number; readonly totalMs: number; readonly worstMs: number } | undefined
  /** Of reads of this file, latest last. */
  readonly errors: readonly { readonly at: string; readonly code: string; readonly message: string }[]
}

/** Looks at one file: reads nothing of it, asks no store. Throws FLIST_USAGE where there is no such path. */
export function explainFile(parts: ServerParts, path: Buffer): WhyAnswer {
  const { index, server } = parts
  const found = findPath(index, path)
  const row = index.leader[found.row] ?? found.row
  const kind = KINDS[(index.mode[row] ?? 0) & S_IFMT] ?? 'special'
  const size = index.size[row] ?? 0
  const now = performance.now()
  return {
    ...shownPath(found.path),
    kind,
    size,
    ...blocksOf(parts, kind === 'file' ? row : -1, size),
    waiting: server.waits
      .waiting()
      .filter((wait) => wait.row === row)
      .map(({ offset, bytes, started }) => ({ offset, bytes, forMs: Math.round(now - started) })),
    waited: server.waits.of(row),
    errors: server.waits.errorsOf(row).map(({ at, code, message }) => ({ at, code, message })),
  }
}

function blocksOf(
  { index, fetcher, stores }: ServerParts,
  row: number,
  size: number,
): Pick<WhyAnswer, 'blocks' | 'absent' | 'stores'> {
  const total = row < 0 ? 0 : (index.count[row] ?? 0)
  const counts = { cached: 0, fetching: 0, failed: 0, absent: 0 }
  const absent: WhyAnswer['absent'][number][] = []
  const seen = new Map<string, SourceState>()
  /** Blocks with the same first byte go to the same stores. */
  const byFirst = new Map<number, readonly SourceState[]>()
  for (let nth = 0; nth < total; nth += 1) {
    const { id, state } = fetcher.blockState(row, nth)
    counts[state] += 1
    if (state === 'cached') continue
    const first = id[0] ?? 0
    const states = byFirst.get(first) ?? stores.statesFor(first)
    byFirst.set(first, states)
    for (const store of states) seen.set(store.name, store)
    if (absent.length < BLOCKS_SHOWN) {
      absent.push({ block: nth, id: id.toString('hex'), state, stores: states.map(({ name }) => name) })
    }
  }
  const { cached, fetching, failed } = counts
  const lacking = row < 0 ? 0 : Math.max(0, Math.ceil(size / LIMITS.blockBytesMax) - total)
  return { blocks: { total, cached, fetching, failed, lacking }, absent, stores: [...seen.values()] }
}
