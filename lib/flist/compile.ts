import { mkdtemp, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { displayBytes, FlistError } from '../base/index.ts'
import { readHead, stampArchive } from './archive-file.ts'
import { HEAD_BYTES, magicOf, unknownFormat } from './magic.ts'

export type ArchiveFormat = 'fl' | 'v1'

export interface CompileOptions {
  /** SHA-256 of the archive, hex; the index is bound to it. */
  digest: string
  signal: AbortSignal
  /** Rows read so far. */
  onProgress?: ((rows: number) => void) | undefined
  /** Stamp of the archive when its digest was taken: one that changed since is refused. */
  stamp?: string | undefined
}

/** Which format a file is, by its content. Throws FLIST_FORMAT_UNKNOWN, FLIST_NOT_FOUND, FLIST_ARCHIVE_DAMAGED. */
export async function detectFormat(path: string): Promise<ArchiveFormat> {
  const magic = magicOf(await readHead(path, HEAD_BYTES))
  if (magic === 'tar') return 'v1'
  if (magic === 'sqlite') {
    const { hasTable, openHostileDatabase } = await import('./hostile-database.ts')
    const database = openHostileDatabase(path, { tables: [], optional: ['inode', 'entries'] })
    try {
      if (hasTable(database, 'inode')) return 'fl'
      if (hasTable(database, 'entries')) return 'v1'
    } finally {
      database.close()
    }
  }
  throw unknownFormat(path)
}

/**
 * Reads an archive of either format and publishes its index at `indexPath`, whose folder must exist.
 * Throws FLIST_ARCHIVE_DAMAGED, FLIST_LIMIT, FLIST_FORMAT_UNKNOWN, FLIST_NOT_FOUND, FLIST_INTERRUPTED, FLIST_CACHE_UNUSABLE.
 */
export async function compileArchive(archivePath: string, indexPath: string, options: CompileOptions): Promise<void> {
  try {
    await compile(archivePath, indexPath, options)
  } catch (error) {
    throw named(error, archivePath)
  }
}

/** Readers speak of "this archive" where no entry of it is meant: the operator may have given several. */
function named(error: unknown, path: string): unknown {
  if (!(error instanceof FlistError) || !error.message.includes(' this archive:')) return error
  const message = error.message.replace(' this archive:', ` "${displayBytes(Buffer.from(path))}":`)
  return new FlistError(error.code, message, {
    cause: error,
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  })
}

async function compile(archivePath: string, indexPath: string, options: CompileOptions): Promise<void> {
  const format = await detectFormat(archivePath)
  const { TreeBuilder } = await import('./tree-builder.ts')
  const { writeIndex } = await import('./index-writer.ts')
  const tree = new TreeBuilder({ format, hashBytes: format === 'fl' ? 32 : 16 })
  const { signal, onProgress } = options
  if (format === 'fl') {
    const { readFl } = await import('./fl-reader.ts')
    await readFl(archivePath, tree, { signal, onProgress })
  } else {
    const { readV1Archive } = await import('./v1/read.ts')
    const scratchDir = await mkdtemp(join(dirname(indexPath), 'unpack-'))
    try {
      await readV1Archive(archivePath, tree, { signal, scratchDir, onProgress })
    } finally {
      await rm(scratchDir, { recursive: true, force: true })
    }
  }
  if (options.stamp !== undefined && stampArchive(archivePath).text !== options.stamp) {
    throw new FlistError('FLIST_DIGEST_MISMATCH', `Cannot use "${archivePath}": it changed while it was read`, {
      hint: 'Wait until whatever writes it is done, then try again',
    })
  }
  writeIndex(tree, indexPath, options.digest)
}
