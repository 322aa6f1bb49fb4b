import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { filesystemSuite } from '../../vfs/filesystem-suite.ts'
import { ArchiveMaker, DIR, everything, FILE, type SampleArchive } from '../../vfs/sample-archive.ts'
import { kernelSuite } from '../kernel-suite.ts'
import { CANNOT, DIFFERENCES, DRIVER, NO_FUSE_NATIVE } from './differences.ts'
import { MountView, NO_MOUNT, serve } from '../served-mount.ts'

const skip = NO_MOUNT || NO_FUSE_NATIVE
const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')

t.setTimeout(900_000)

async function sampleOf(t: Test, maker: ArchiveMaker): Promise<SampleArchive> {
  const dir = mkdtempSync(join(tmpdir(), 'flistfs-sample-'))
  t.teardown(() => rmSync(dir, { recursive: true }))
  return maker.write(dir)
}

t.test('a mount by fuse-native shows what is in the archive', { skip, timeout: 600_000 }, async (t) => {
  const sample = await sampleOf(t, everything('/bin/cat'))
  const served = await serve(t, sample.archivePath, [...DRIVER, '--suid', '--dev'])
  await t.test('as another process sees it', async (t) => {
    filesystemSuite(t, sample.entries, async () => new MountView(served), DIFFERENCES)
  })
  await t.test('once more, by the caches of the kernel', async (t) => {
    filesystemSuite(t, sample.entries, async () => new MountView(served, 300), DIFFERENCES)
  })
  await t.test('what is no text', async (t) => {
    const view = new MountView(served)
    const names = (await view.readdir(latin1('names'))).map(({ name }) => name.toString())
    t.ok(names.includes('\uFFFD\uFFFD\uFFFD not utf-8'), 'is listed as one')
    const raw = latin1('names/\xff\xfe\x80 not utf-8')
    t.ok((await view.read(raw, 0, 100)).equals(raw.subarray(6)), 'and read by its bytes')
    t.ok((await view.read(Buffer.from('names/\uFFFD\uFFFD\uFFFD not utf-8'), 0, 100)).equals(raw.subarray(6)))
    await t.rejects(view.readlink(latin1('links/broken')), { code: 'EILSEQ' }, 'half a target is none')
    t.equal((await view.lstat(latin1('times/1901'))).mtimeNs, 0n, 'before 1970')
  })
  await t.test('what only a kernel can ask', async (t) => kernelSuite(t, served, CANNOT))
})

t.test('an archive without extended attributes, by fuse-native', { skip, timeout: 300_000 }, async (t) => {
  const maker = new ArchiveMaker().add('dir', DIR).add('dir/file', FILE, { content: latin1('plain') })
  const served = await serve(t, (await sampleOf(t, maker)).archivePath, [...DRIVER, '--verify', 'always'])
  const view = new MountView(served)
  await t.rejects(view.listxattr(latin1('dir/file')), { code: 'ENOTSUP' })
  await t.rejects(view.getxattr(latin1('dir/file'), latin1('user.any')), { code: 'ENOTSUP' })
  t.equal((await view.read(latin1('dir/file'), 0, 100)).toString(), 'plain')
  const { reads } = (await served.stats()) as { reads: { fromCache: number } }
  t.equal(reads.fromCache, 0, '--verify always reads nothing unchecked')
})
