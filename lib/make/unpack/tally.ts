import { codeReason, describeError, errnoName, FlistError, invariant, LIMITS, systemCode } from '../../base/index.ts'
import { type LeftOut, type LeftOutKind, LeftOuts } from './left-out.ts'
import type { UnpackRequest } from './unpack.ts'

export interface UnpackResult {
  /** Names that are in the folder now. */
  entries: number
  /** Plain bytes that were written; holes count. */
  bytes: number
  /** Files that were there with their size and time, and were not read again. */
  kept: number
  /** What is not as in the archive, by kind. */
  readonly counts: Partial<Record<LeftOutKind, number>>
  readonly leftOut: readonly LeftOut[]
}

/** So many files without a single block: no store answers. */
const HOPELESS = 2 * LIMITS.unpackFilesAtOnce
/** Nothing that follows would fare better. */
const FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO', 'EMFILE', 'ENFILE'])

/** What came of an unpacking so far. */
export class Tally {
  readonly left = new LeftOuts()
  readonly result: UnpackResult
  readonly #request: UnpackRequest
  /** Ends all of it. */
  #failure: unknown
  /** Of content that could not be restored. */
  #firstContent: unknown

  constructor(request: UnpackRequest) {
    this.#request = request
    this.result = { entries: 0, bytes: 0, kept: 0, counts: this.left.counts, leftOut: this.left.list }
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined
  }

  /** Throws what ended it. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure
    // Not one block came: that is no restoring in part.
    if (this.#firstContent !== undefined && this.result.bytes === 0) throw this.#firstContent
  }

  read(bytes: number): void {
    const { result } = this
    result.bytes += bytes
    const { onProgress, index } = this.#request
    onProgress?.(result.bytes, index.contentBytes, result.entries)
  }

  /** An entry that cannot be made. */
  failed(path: Buffer, kind: LeftOutKind, errno: number): void {
    invariant(errno > 0, 'a call that failed has an errno')
    const code = errnoName(errno)
    if (FULL.has(code)) this.#failure ??= this.refused(code)
    else this.left.add(path, kind, code)
  }

  /** A file whose content cannot be had. */
  contentFailed(path: Buffer, error: unknown): void {
    if (FULL.has(systemCode(error))) this.#failure ??= this.refused(systemCode(error), error)
    else this.left.add(path, 'content', describeError(error))
    this.#firstContent ??= error
    if (this.result.bytes === 0 && (this.left.counts.content ?? 0) >= HOPELESS) this.#failure ??= error
  }

  refused(code: string, cause?: unknown): FlistError {
    const isFull = code === 'ENOSPC' || code === 'EDQUOT'
    return new FlistError('FLIST_SYSTEM', `Cannot unpack into "${this.#request.directory}": ${codeReason(code)}`, {
      hint: isFull
        ? 'Make room, then run it again: files that are whole stay'
        : 'Name a folder that you may write; the folder it lies in must be there',
      cause,
    })
  }
}
