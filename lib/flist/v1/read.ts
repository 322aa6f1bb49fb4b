import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { TreeSink } from '../tree-sink.ts'
import { unpackV1 } from './container.ts'
import { readV1 } from './read-v1.ts'

export interface ReadV1ArchiveOptions {
  signal: AbortSignal
  /** A folder of the caller's; the database is unpacked there and removed again. */
  scratchDir: string
  /** Called now and then with the number of entries read so far. */
  onProgress?: ((entries: number) => void) | undefined
}

/** Reads a v1 archive of any shape (`unpackV1`) into `sink`. Throws what `unpackV1` and `readV1` throw. */
export async function readV1Archive(archivePath: string, sink: TreeSink, options: ReadV1ArchiveOptions): Promise<void> {
  const { signal, onProgress } = options
  const temporaryPath = join(options.scratchDir, 'flistdb.sqlite3')
  const { databasePath, routerYaml } = await unpackV1(archivePath, temporaryPath, signal)
  try {
    await readV1(databasePath, sink, { signal, routerYaml, onProgress, archivePath })
  } finally {
    if (databasePath === temporaryPath) await rm(temporaryPath, { force: true })
  }
}
