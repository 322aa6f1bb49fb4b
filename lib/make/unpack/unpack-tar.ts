import { setImmediate } from 'node:timers/promises'
import { LIMITS } from '../../base/index.ts'
import type { FlistIndex } from '../../flist/index.ts'
import { LocalBlocks } from '../../store/index.ts'
import { archiveTar } from '../archive-tar.ts'
import { type BlockSupply, localFirst } from './file-content.ts'
import { type LeftOut, type LeftOutKind, LeftOuts } from './left-out.ts'
import type { LocalContent } from './maker-pool.ts'
import { TarContent } from './tar-content.ts'

export interface UnpackTarRequest {
  readonly index: FlistIndex
  readonly supply: BlockSupply
  /** Where blocks lie in folders of this machine: small ones are taken from there first. */
  readonly local?: LocalContent | undefined
  /** Where the tar goes; nothing is made any more once it is closed. */
  readonly sink: { readonly closed: boolean; push(bytes: Buffer): void }
  readonly onProgress?: ((bytes: number, total: number, entries: number) => void) | undefined
}

export interface UnpackTarResult {
  /** Names that are in the tar. */
  entries: number
  /** Plain bytes that were read. */
  bytes: number
  readonly counts: Partial<Record<LeftOutKind, number>>
  readonly leftOut: readonly LeftOut[]
}

/** Pieces after which an interrupt is heard, where nothing else waits. */
const BREATH = 1000
/** So many files without a single block: no store answers. */
const HOPELESS = 2 * LIMITS.unpackFilesAtOnce

/**
 * An archive's tree as a tar. A file whose blocks cannot be had is left out and named. One so large that it shows only behind its
 * header ends the tar in the middle, and its error is thrown: no reader takes it for whole. Throws as `unpackTree` does.
 */
export async function unpackTar(request: UnpackTarRequest, signal: AbortSignal): Promise<UnpackTarResult> {
  const { index, sink, onProgress } = request
  using local = request.local === undefined ? undefined : new LocalBlocks(request.local.routes)
  const supply = local === undefined ? request.supply : localFirst(local, request.supply)
  const left = new LeftOuts()
  const result: UnpackTarResult = { entries: 0, bytes: 0, counts: left.counts, leftOut: left.list }
  // What was asked for ahead has no reader once the tar ends early.
  const ending = new AbortController()
  const content = await TarContent.open(index, supply, AbortSignal.any([signal, ending.signal]))
  const admit = async (row: number, path: Buffer): Promise<boolean> => {
    const why = await content.why(row)
    if (why === undefined) return true
    left.add(path, 'content', why)
    if (content.bytes === 0 && content.failures >= HOPELESS) throw content.firstFailure
    return false
  }
  const tar = archiveTar(index, {
    content: (row) => content.of(row),
    admit,
    sparse: (row) => content.sparse(row),
    isLayer: false,
    onLeftOut: (path, why) => left.add(Buffer.from(path), 'name', why),
    onEntry: () => (result.entries += 1),
  })
  let pieces = 0
  let held: Buffer | undefined
  try {
    for await (const piece of tar) {
      if (held !== undefined) sink.push(held)
      if (sink.closed) return result
      held = piece
      onProgress?.(content.bytes, index.contentBytes, result.entries)
      pieces += 1
      if (pieces % BREATH === 0) await setImmediate()
      signal.throwIfAborted()
    }
    // Not one block came: that is no tar in part, and the two blocks that would end it are not written.
    if (content.firstFailure !== undefined && content.bytes === 0) throw content.firstFailure
    if (held !== undefined) sink.push(held)
    return result
  } finally {
    result.bytes = content.bytes
    ending.abort()
    await content.close()
  }
}
