import { isUtf8 } from 'node:buffer'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadFuseNative } from '../../lib/kernel/index.ts'
import { type Differences, filesystemSuite } from '../vfs/filesystem-suite.ts'
import { type ArchiveMaker, everything, type Expected, type SampleArchive } from '../vfs/sample-archive.ts'
import { MountView, NO_MOUNT, serve } from './served-mount.ts'

const DRIVER = ['--driver', 'fuse-native']

async function notLoading(): Promise<string | false> {
  return loadFuseNative().then(
    () => false as const,
    (error: Error) => error.message,
  )
}

/** Why the driver cannot run here, or false. */
const NO_DRIVER = NO_MOUNT || (await notLoading())

/** What fuse-native's interface cannot express. */
const DIFFERENCES: Differences = {
  times: ({ mtime, mtimeNs, ctime, ctimeNs }: Expected) => {
    if (mtime < 0 || ctime < 0)
      return 'fuse-native: times before 1970 are taken for times in the far future; we say 1970'
    if (mtimeNs % 1_000_000 !== 0 || ctimeNs % 1_000_000 !== 0) return 'fuse-native: times in milliseconds'
    return undefined
  },
  name: (name) => (isUtf8(name) ? undefined : 'fuse-native: names are texts'),
  target: (target) => (isUtf8(target) ? undefined : 'fuse-native: targets are texts'),
}

async function sampleOf(t: Test, maker: ArchiveMaker): Promise<SampleArchive> {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-sample-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  return maker.write(dir)
}

t.setTimeout(900_000)

t.test('a mount by fuse-native shows what is in the archive', { skip: NO_DRIVER, timeout: 600_000 }, async (t) => {
  const sample = await sampleOf(t, everything('/bin/cat'))
  const served = await serve(t, sample.archivePath, [...DRIVER, '--suid', '--dev'])
  await t.test('as another process sees it', async (t) => {
    filesystemSuite(t, sample.entries, async () => new MountView(served), DIFFERENCES)
  })
  await t.test('once more, by the caches of the kernel', async (t) => {
    filesystemSuite(t, sample.entries, async () => new MountView(served, 300), DIFFERENCES)
  })
})
