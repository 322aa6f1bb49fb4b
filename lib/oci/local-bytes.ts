import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { FlistError, systemCode, systemReason } from '../base/index.ts'
import { checked, type Digest, digestMismatch } from './digest.ts'

const READ_BYTES = 512 * 1024

/** A part of a file. */
export interface LocalBytes {
  readonly path: string
  readonly offset: number
  readonly size: number
}

export async function* readLocal(
  { path, offset, size }: LocalBytes,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  if (size === 0) return
  const stream = createReadStream(path, { start: offset, end: offset + size - 1, highWaterMark: READ_BYTES, signal })
  try {
    yield* stream as AsyncIterable<Buffer>
  } catch (error) {
    if (signal.aborted) throw error
    throw cannotRead(path, error)
  } finally {
    stream.destroy()
  }
}

/** All of it, checked. */
export async function localBuffer(
  bytes: LocalBytes,
  digest: Digest,
  what: string,
  signal: AbortSignal,
): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of checked(readLocal(bytes, signal), digest, bytes.size, what)) pieces.push(piece)
  return Buffer.concat(pieces)
}

/** Throws FLIST_DIGEST_MISMATCH. */
export async function verifyLocal(bytes: LocalBytes, digest: Digest, what: string, signal: AbortSignal): Promise<void> {
  for await (const _ of checked(readLocal(bytes, signal), digest, bytes.size, what));
}

/** The whole of a plain file whose size should be `size`. Throws FLIST_NOT_FOUND, FLIST_DIGEST_MISMATCH. */
export async function wholeFile(path: string, size: number | undefined, what: string): Promise<LocalBytes> {
  const found = await stat(path).catch((error: unknown) => {
    throw cannotRead(path, error)
  })
  if (!found.isFile()) throw new FlistError('FLIST_NOT_FOUND', `Cannot read "${path}": it is no file`)
  if (size !== undefined && size !== found.size) throw digestMismatch(what)
  return { path, offset: 0, size: found.size }
}

export function cannotRead(path: string, error: unknown): FlistError {
  const code = systemCode(error)
  const isAbsent = code === 'ENOENT' || code === 'ENOTDIR' || code === 'EISDIR'
  return new FlistError(
    isAbsent ? 'FLIST_NOT_FOUND' : 'FLIST_SYSTEM',
    `Cannot read "${path}": ${systemReason(error)}`,
    {
      hint: isAbsent ? 'Check the path of the image' : 'Check the disk, and who may read the file',
      cause: error,
    },
  )
}
