import { describeError, displayBytes, FlistError, LIMITS, type Log, wordBytes } from '../base/index.ts'
import { findPath, type FlistIndex, typeName } from '../flist/index.ts'
import { forgetStored } from '../store/index.ts'
import type { Sink } from './look.ts'
import type { OpenedArchive } from './open-archive.ts'
import { type ContentWords, type OpenedContent, openContent } from './open-content.ts'

/** Blocks asked for while one is written. */
const AHEAD = 16

/** cat(1) over an archive: links are followed. Throws FLIST_USAGE for what is no file, and what reading its blocks throws. */
export async function catFiles(
  archive: OpenedArchive,
  paths: readonly string[],
  words: ContentWords,
  sink: Sink,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const { index } = archive
  // All of them before the first byte: a misspelt name costs nothing.
  const rows = paths.map((path) => fileRow(index, path))
  await using content = await openContent(archive, words, log)
  for (const row of rows) {
    for await (const bytes of fileBytes(index, row, content, signal)) {
      if (sink.closed) return
      sink.push(bytes)
    }
  }
  forgetStored()
}

/** The row that stands for a file; links are followed. Throws FLIST_USAGE for what is not there or no file. */
export function fileRow(index: FlistIndex, path: string): number {
  const { row } = findPath(index, wordBytes(path))
  const type = typeName(index.mode[row] ?? 0)
  if (type === 'file') return index.leader[row] ?? row
  throw new FlistError('FLIST_USAGE', `Cannot read "${path}": it is a ${type}`, {
    hint: 'Name files: `flistfs ls` shows what is in a folder',
  })
}

/** The content of a file, block after block; some are fetched ahead. Throws FLIST_FILE_TRUNCATED where the archive lacks its end. */
export async function* fileBytes(
  index: FlistIndex,
  row: number,
  { reader }: OpenedContent,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void> {
  const { format, hashBytes } = index
  const size = index.size[row] ?? 0
  const first = index.first[row] ?? 0
  const wanted = Math.ceil(size / LIMITS.blockBytesMax)
  const count = Math.min(index.count[row] ?? 0, wanted)
  const fetch = (nth: number): Promise<Buffer> => {
    const at = (first + nth) * hashBytes
    const ref = {
      format,
      id: index.ids.subarray(at, at + hashBytes),
      key: index.keys.subarray(at, at + hashBytes),
      plainBytes: Math.min(LIMITS.blockBytesMax, size - nth * LIMITS.blockBytesMax),
    }
    return reader.read(ref, signal)
  }
  const running: Promise<Buffer>[] = []
  try {
    for (let nth = 0; nth < count; nth += 1) {
      while (running.length < AHEAD && nth + running.length < count) {
        const promise = fetch(nth + running.length)
        promise.catch(() => undefined)
        running.push(promise)
      }
      const block = await running.shift()?.catch((error: unknown) => {
        // Then it is no fault of the file.
        signal.throwIfAborted()
        throw named(error, index, row)
      })
      yield block ?? Buffer.alloc(0)
    }
  } finally {
    await Promise.allSettled(running)
  }
  if (count < wanted) {
    throw new FlistError(
      'FLIST_FILE_TRUNCATED',
      `Cannot read "${displayBytes(index.pathOf(row))}" to its end: the archive lacks ${wanted - count} of its blocks`,
      { hint: 'Make the archive again from its source' },
    )
  }
}

/** The same error with the path that a person knows, as a mount's log has it. */
function named(error: unknown, index: FlistIndex, row: number): Error {
  if (!(error instanceof FlistError)) return error instanceof Error ? error : new Error(describeError(error))
  const message = `Cannot read "${displayBytes(index.pathOf(row))}": ${error.message.replace(/^Cannot /, '')}`
  return new FlistError(error.code, message, {
    cause: error,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  })
}
