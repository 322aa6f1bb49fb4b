import { createHash } from 'node:crypto'
import { constants, statSync } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { FlistError, LIMITS, systemCode, systemReason } from '../base/index.ts'
import { beyondLimit } from './damage.ts'
import { FILE_TYPE } from './file-type.ts'

/** What tells a file from any other and from itself before a change. */
export interface FileStamp {
  readonly text: string
  /** Device and inode: no two files have the same one at a time. */
  readonly name: string
  /** When the inode last changed, in ms since 1970: it cannot be set back from outside. */
  readonly changedMs: number
  readonly bytes: number
}

/** Stamps an archive; one call, no promise. Throws FLIST_NOT_FOUND where no file is there. */
export function stampArchive(path: string): FileStamp {
  try {
    return stampOf(statSync(path, { bigint: true }), path)
  } catch (error) {
    throw notFound(error, path)
  }
}

function stampOf(stat: BigIntStats, path: string): FileStamp {
  if ((Number(stat.mode) & FILE_TYPE.mask) !== FILE_TYPE.file) {
    throw new FlistError('FLIST_NOT_FOUND', `Cannot read "${path}": it is not a file`, {
      hint: 'Name the .fl or .flist file itself',
    })
  }
  const text = `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`
  return { text, name: `${stat.dev}-${stat.ino}`, changedMs: Number(stat.ctimeMs), bytes: Number(stat.size) }
}

function notFound(error: unknown, path: string): unknown {
  const code = systemCode(error)
  if (code === '') return error
  return new FlistError('FLIST_NOT_FOUND', `Cannot read "${path}": ${systemReason(error)}`, {
    hint: 'Check the path and who may read it',
    cause: error,
  })
}

const PIECE_BYTES = 1024 * 1024

/** SHA-256 of an archive's bytes, hex. Throws FLIST_NOT_FOUND, FLIST_LIMIT, FLIST_INTERRUPTED. */
export async function hashArchive(path: string, signal: AbortSignal): Promise<string> {
  await using file = await openArchive(path)
  const hash = createHash('sha256')
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES)
  let bytes = 0
  for (;;) {
    if (signal.aborted) {
      throw new FlistError('FLIST_INTERRUPTED', `Cannot read "${path}": interrupted`, { cause: signal.reason })
    }
    const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, bytes)
    if (bytesRead === 0) return hash.digest('hex')
    bytes += bytesRead
    if (bytes > LIMITS.archiveBytesMax) {
      throw beyondLimit(`"${path}"`, `it has more than ${LIMITS.archiveBytesMax} bytes`)
    }
    hash.update(piece.subarray(0, bytesRead))
  }
}

async function openArchive(path: string): Promise<FileHandle> {
  let file: FileHandle | undefined
  try {
    // A pipe or a device must not hold us here.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
    stampOf(await file.stat({ bigint: true }), path)
    return file
  } catch (error) {
    await file?.close()
    throw notFound(error, path)
  }
}

/** The first bytes of an archive, as many as there are. */
export async function readHead(path: string, bytes: number): Promise<Buffer> {
  await using file = await openArchive(path)
  const head = Buffer.alloc(bytes)
  const { bytesRead } = await file.read(head, 0, bytes, 0)
  return head.subarray(0, bytesRead)
}
