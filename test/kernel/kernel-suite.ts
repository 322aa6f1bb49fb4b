import type { Test } from 'tap'
import { noise } from '../vfs/sample-archive.ts'
import { MountView, type Served } from './served-mount.ts'

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')

/** What only a kernel can ask of a mount of `everything()`. `skipped`: tests that a driver cannot pass, with the reason. */
export function kernelSuite(t: Test, served: Served, skipped: Readonly<Record<string, string>> = {}): void {
  const may = (name: string): { skip: string | false } => ({ skip: skipped[name] ?? false })
  const view = new MountView(served)
  const { examiner } = served
  const path = (name: string): Buffer => view.path(latin1(name))

  t.test('seeking in a folder', may('seeking in a folder'), async (t) => {
    for (const count of [1, 2, 3, 700, 1400]) {
      const [wanted, ...found] = (await examiner.ask('seek_back', path('many'), count)) as string[]
      t.strictSame(found, [wanted, wanted], `after ${count} entries`)
    }
  })

  t.test('mmap and O_DIRECT give the content', may('mmap and O_DIRECT give the content'), async (t) => {
    const content = noise('three-blocks', 2 * 524288 + 12_345)
    const read = async (act: string, offset: number, bytes: number): Promise<Buffer> =>
      Buffer.from((await examiner.ask(act, path('files/three-blocks'), offset, bytes)) as string, 'base64')
    t.ok((await read('mapped', 0, content.length)).equals(content), 'mapped whole')
    t.ok((await read('mapped', 524287, 2)).equals(content.subarray(524287, 524289)), 'mapped across a border')
    t.ok((await read('read_direct', 520192, 8192)).equals(content.subarray(520192, 528384)), 'O_DIRECT')
    t.ok((await read('read_direct', 1_056_768, 8192)).equals(content.subarray(1_056_768)), 'O_DIRECT at the end')
    t.equal((await read('read_direct', 1_064_960, 4096)).length, 0, 'O_DIRECT behind the end')
  })

  t.test('a program runs', may('a program runs'), async (t) => {
    const answer = (await examiner.ask('run', path('program'), ['/proc/self/mounts'])) as [number, string]
    t.equal(answer[0], 0)
    t.match(Buffer.from(answer[1], 'hex').toString(), served.directory)
  })

  t.test(
    'file handles hold when the kernel forgot everything',
    may('file handles hold when the kernel forgot everything'),
    async (t) => {
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
    },
  )

  t.test('nothing can be changed', may('nothing can be changed'), async (t) => {
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

  t.test(
    'calls that a file system may lack fail as programs know it',
    may('calls that a file system may lack fail as programs know it'),
    async (t) => {
      const [TCGETS, FS_IOC_GETFLAGS] = [0x5401, 0x8008_6601]
      await t.rejects(examiner.ask('ioctl', path('files/one'), TCGETS), { code: 'ENOTTY' })
      await t.rejects(examiner.ask('ioctl', path('files/one'), FS_IOC_GETFLAGS), { code: 'ENOTTY' })
      t.equal(await examiner.ask('fsync', path('files/one')), 0)
      const [SEEK_END, SEEK_DATA, SEEK_HOLE] = [2, 3, 4]
      t.equal(await examiner.ask('lseek', path('files/block'), 0, SEEK_END), 524288)
      t.equal(await examiner.ask('lseek', path('files/block'), 5, SEEK_DATA), 5)
      t.equal(await examiner.ask('lseek', path('files/block'), 5, SEEK_HOLE), 524288)
      await t.rejects(examiner.ask('lseek', path('files/block'), 524288, SEEK_DATA), { code: 'ENXIO' })
    },
  )
}
