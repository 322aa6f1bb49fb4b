import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { filesystemSuite } from '../vfs/filesystem-suite.ts'
import { ArchiveMaker, DIR, everything, FILE, noise, type SampleArchive } from '../vfs/sample-archive.ts'
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
  await t.test('what only a kernel can ask', async (t) => kernelTests(t, served))
})

function kernelTests(t: Test, served: Served): void {
  const view = new MountView(served)
  const { examiner } = served
  const path = (name: string): Buffer => view.path(latin1(name))

  t.test('seeking in a folder', async (t) => {
    for (const count of [1, 2, 3, 700, 1400]) {
      const [wanted, ...found] = (await examiner.ask('seek_back', path('many'), count)) as string[]
      t.strictSame(found, [wanted, wanted], `after ${count} entries`)
    }
  })

  t.test('mmap and O_DIRECT give the content', async (t) => {
    const content = noise('three-blocks', 2 * 524288 + 12_345)
    const read = async (act: string, offset: number, bytes: number): Promise<Buffer> =>
      Buffer.from((await examiner.ask(act, path('files/three-blocks'), offset, bytes)) as string, 'base64')
    t.ok((await read('mapped', 0, content.length)).equals(content), 'mapped whole')
    t.ok((await read('mapped', 524287, 2)).equals(content.subarray(524287, 524289)), 'mapped across a border')
    t.ok((await read('read_direct', 520192, 8192)).equals(content.subarray(520192, 528384)), 'O_DIRECT')
    t.ok((await read('read_direct', 1_056_768, 8192)).equals(content.subarray(1_056_768)), 'O_DIRECT at the end')
    t.equal((await read('read_direct', 1_064_960, 4096)).length, 0, 'O_DIRECT behind the end')
  })

  t.test('a program runs', async (t) => {
    const answer = (await examiner.ask('run', path('program'), ['/proc/self/mounts'])) as [number, string]
    t.equal(answer[0], 0)
    t.match(Buffer.from(answer[1], 'hex').toString(), served.directory)
  })

  t.test('file handles hold when the kernel forgot everything', async (t) => {
    for (const name of ['files/one', 'links', 'links/second', 'deep/1/2', 'many/entry-77', '']) {
      const [kind, data] = (await examiner.ask('handle_of', path(name))) as [number, string]
      await examiner.ask('drop_caches', null)
      const [mode, ino, first] = (await examiner.ask('open_handle', path(''), kind, data)) as string[]
      const about = await view.lstat(latin1(name))
      t.equal(mode, String(about.mode), name)
      t.equal(ino, String(about.ino), name)
      if (name === 'files/one') t.equal(first, noise('one', 1).toString('hex'))
      // The generation is the archive's: another's handle is stale.
      const forged = Buffer.from(data, 'hex')
      forged.writeUInt32LE((forged.readUInt32LE(8) ^ 1) >>> 0, 8)
      await t.rejects(examiner.ask('open_handle', path(''), kind, forged.toString('hex')), { code: 'ESTALE' })
      const beyond = Buffer.from(data, 'hex')
      beyond.writeUInt32LE(0x7fff_ffff, 4)
      await t.rejects(examiner.ask('open_handle', path(''), kind, beyond.toString('hex')), { code: 'ESTALE' })
    }
  })

  t.test('nothing can be changed', async (t) => {
    for (const op of ['create', 'mkdir', 'mkfifo']) {
      await t.rejects(examiner.ask('change', path('files/new'), op), { code: 'EROFS' }, op)
    }
    for (const op of ['write', 'unlink', 'chmod', 'utime', 'rename', 'link', 'setxattr']) {
      await t.rejects(examiner.ask('change', path('files/one'), op), { code: 'EROFS' }, op)
    }
    await t.rejects(examiner.ask('change', path('empty'), 'rmdir'), { code: 'EROFS' })
    t.equal(await examiner.ask('access', path('files/one'), 2), false, 'access(W_OK)')
    t.equal(await examiner.ask('access', path('files/one'), 4), true, 'access(R_OK)')
  })

  t.test('calls that a file system may lack fail as programs know it', async (t) => {
    const [TCGETS, FS_IOC_GETFLAGS] = [0x5401, 0x8008_6601]
    await t.rejects(examiner.ask('ioctl', path('files/one'), TCGETS), { code: 'ENOTTY' })
    await t.rejects(examiner.ask('ioctl', path('files/one'), FS_IOC_GETFLAGS), { code: 'ENOTTY' })
    t.equal(await examiner.ask('fsync', path('files/one')), 0)
    const [SEEK_END, SEEK_DATA, SEEK_HOLE] = [2, 3, 4]
    t.equal(await examiner.ask('lseek', path('files/block'), 0, SEEK_END), 524288)
    t.equal(await examiner.ask('lseek', path('files/block'), 5, SEEK_DATA), 5)
    t.equal(await examiner.ask('lseek', path('files/block'), 5, SEEK_HOLE), 524288)
    await t.rejects(examiner.ask('lseek', path('files/block'), 524288, SEEK_DATA), { code: 'ENXIO' })
  })
}

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

/** A store that accepts and never says a word. */
async function silentStore(t: Test): Promise<string> {
  const sockets = new Set<{ destroy(): void }>()
  const server = createServer((socket) => void sockets.add(socket.on('error', () => undefined)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

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
