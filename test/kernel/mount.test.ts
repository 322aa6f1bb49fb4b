import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silentStore } from '../store/silent-store.ts'
import { filesystemSuite } from '../vfs/filesystem-suite.ts'
import { ArchiveMaker, DIR, everything, FILE, noise, type SampleArchive } from '../vfs/sample-archive.ts'
import { kernelSuite } from './kernel-suite.ts'
import { Examiner, MountView, NO_MOUNT, serve, type Served } from './served-mount.ts'

const PROGRAM = '/bin/cat'
const EVERYTHING = ['--suid', '--dev']
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')

async function sampleOf(t: Test, maker: ArchiveMaker): Promise<SampleArchive> {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-sample-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  return maker.write(dir)
}

t.test('a mount shows what is in the archive', { skip: NO_MOUNT, timeout: 600_000 }, async (t) => {
  const sample = await sampleOf(t, everything(PROGRAM))
  const served = await serve(t, sample.archivePath, EVERYTHING)
  await t.test('as another process sees it', async (t) => {
    filesystemSuite(t, sample.entries, async () => new MountView(served))
  })
  await t.test('once more, by the caches of the kernel', async (t) => {
    filesystemSuite(t, sample.entries, async () => new MountView(served, 300))
  })
  await t.test('what only a kernel can ask', async (t) => kernelSuite(t, served))
})

t.test('an archive without extended attributes', { skip: NO_MOUNT, timeout: 600_000 }, async (t) => {
  const maker = new ArchiveMaker().add('dir', DIR).add('dir/file', FILE, { content: latin1('plain') })
  const served = await serve(t, (await sampleOf(t, maker)).archivePath)
  const view = new MountView(served)
  // Python's name for EOPNOTSUPP. The kernel asks once a mount and then no more.
  await t.rejects(view.listxattr(latin1('dir/file')), { code: 'ENOTSUP' })
  await t.rejects(view.getxattr(latin1('dir/file'), latin1('user.any')), { code: 'ENOTSUP' })
  await t.rejects(view.getxattr(latin1('dir/file'), latin1('security.capability')), { code: 'ENOTSUP' })
  t.equal((await view.read(latin1('dir/file'), 0, 100)).toString(), 'plain')
  t.ok(existsSync(served.directory))
})

interface Reads {
  readonly waiting: number
  readonly interrupted: number
}

/** Asks for the counts until they are as wanted. */
async function readsWhen(served: Served, wanted: (reads: Reads) => boolean): Promise<Reads> {
  const end = Date.now() + 120_000
  for (;;) {
    const { reads } = (await served.stats()) as { reads: Reads }
    if (wanted(reads)) return reads
    if (Date.now() > end) throw new Error(`still ${JSON.stringify(reads)}`)
  }
}

t.test('readers of a store that hangs', { skip: NO_MOUNT, timeout: 600_000 }, async (t) => {
  const sample = await sampleOf(t, new ArchiveMaker().add('file', FILE, { content: noise('file', 10_000) }))
  const store = await silentStore(t)
  const served = await serve(t, sample.archivePath, ['--store', store, '--timeout', '10m'])
  const path = new MountView(served).path(latin1('file'))
  const killed = async (act: string, ...words: number[]): Promise<void> => {
    const reader = new Examiner()
    const reading = reader.ask(act, path, ...words).catch((error: unknown) => error)
    await readsWhen(served, ({ waiting }) => waiting > 0)
    reader.close()
    await reader.gone
    t.pass(`${act}: a reader who is killed is gone`)
    t.match(await reading, { message: 'the examiner ended' })
  }
  await killed('read_direct', 0, 4096)
  // The kernel says that he left: a synchronous read is his alone.
  const reads = await readsWhen(served, ({ waiting }) => waiting === 0)
  t.equal(reads.interrupted, 1)
  await killed('read', 0, 100, 0)
})

t.test('a read from a store that hangs ends at the deadline', { skip: NO_MOUNT, timeout: 600_000 }, async (t) => {
  const sample = await sampleOf(t, new ArchiveMaker().add('file', FILE, { content: noise('file', 10_000) }))
  const served = await serve(t, sample.archivePath, ['--store', await silentStore(t), '--timeout', '2s'])
  const view = new MountView(served)
  const reading = served.examiner.ask('read_direct', view.path(latin1('file')), 0, 4096)
  await t.rejects(reading, { code: 'EIO' }, 'the deadline')
  t.equal((await view.lstat(latin1('file'))).size, 10_000n, 'and the mount goes on')
})
