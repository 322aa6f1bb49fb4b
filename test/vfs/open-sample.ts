import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { type FlistIndex, locateIndex, openIndex } from '../../lib/flist/index.ts'
import type { ArchiveMaker, SampleArchive } from './sample-archive.ts'

export interface OpenSample {
  readonly sample: SampleArchive
  readonly index: FlistIndex
  readonly cacheDir: string
  /** The row of a path. */
  readonly row: (path: string) => number
}

/** Writes the archive, compiles and maps it; all of it is gone when the test ends. */
export async function openSample(t: Test, maker: ArchiveMaker): Promise<OpenSample> {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-vfs-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const sample = await maker.write(dir)
  return { sample, ...(await openArchive(t, sample.archivePath, join(dir, 'cache'))) }
}

/** The same of an archive that is there. */
export async function openArchive(t: Test, archivePath: string, cacheDir: string): Promise<Omit<OpenSample, 'sample'>> {
  const { indexPath, digest } = await locateIndex(archivePath, { cacheDir }, new AbortController().signal)
  const index = openIndex(indexPath, digest)
  t.teardown(() => index.close())
  const row = (path: string): number => {
    let at = 0
    for (const part of path.split('/')) {
      const name = Buffer.from(part)
      at = index.find(at, name, 0, name.length)
    }
    if (at < 0) throw new RangeError(path)
    return at
  }
  return { index, cacheDir, row }
}
