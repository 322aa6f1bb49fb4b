import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { FLISTFS, lacks, type Lab, type Mounted, mountTest, until } from './mounted.ts'
import { packFiles } from './pack-tree.ts'

interface Disk {
  readonly folder: string
  readonly freeze: () => Promise<unknown>
  readonly thaw: () => Promise<unknown>
}

/** A disk of its own, which `freeze` stops: who writes to it waits in the kernel, as with one that is away. */
async function makeDisk(lab: Lab): Promise<Disk> {
  const image = lab.path('disk.img')
  const folder = lab.folder('disk')
  await lab.ok('truncate', ['-s', '2G', image])
  await lab.ok('mkfs.ext4', ['-q', image])
  await lab.ok('mount', ['-o', 'loop', image, folder])
  return {
    folder,
    freeze: () => lab.ok('fsfreeze', ['--freeze', folder]),
    thaw: () => lab.run('fsfreeze', ['--unfreeze', folder]),
  }
}

const skip = lacks('mkfs.ext4', 'fsfreeze')

/** All is unmounted while the disk stands still. */
async function gone(lab: Lab): Promise<void> {
  await until(async () => (await lab.ok('sh', [FLISTFS, 'list', '--json'])).trim() === '[]')
}

async function takeAway(lab: Lab, disk: Disk): Promise<void> {
  await until(() => lab.servers().length === 0)
  await lab.ok('umount', [disk.folder])
}

mountTest(
  'reads of mounts whose cache disk hangs end with EIO, and the mounts go on and end',
  { skip },
  async (t, lab) => {
    const disk = await makeDisk(lab)
    const cache = join(disk.folder, 'cache')
    // One archive each: what lies beside what is read would be fetched ahead.
    const mount = async (name: string): Promise<Mounted> => {
      const { archive, store } = await packFiles(lab.dir, name, { file: randomBytes(600_000) })
      return lab.mount(archive, { words: ['--store', `dir://${store}`, '--timeout', '2s'], cache })
    }
    const read = ({ directory }: Mounted) => lab.run('cat', [join(directory, 'file')], { timeoutMs: 90_000 })
    const failed = { code: 1, stderr: /Input\/output error/ }
    const warm = await mount('a')
    const first = await mount('b')
    const second = await mount('c')
    t.equal((await read(warm)).code, 0)
    await lab.stats(first)
    await lab.stats(second)
    await disk.freeze()
    try {
      t.match(await read(first), failed)
      const why = /reads are refused: the fetch thread has not answered for 15 s.*cache folder/
      await until(() => why.test(readFileSync(first.log, 'utf8')))
      const began = performance.now()
      t.match(await read(first), failed)
      t.ok(performance.now() - began < 14_000, 'while it hangs nobody waits as long again')
      await lab.ok('sh', ['-c', 'echo 1 > /proc/sys/vm/drop_caches'])
      t.equal((await read(warm)).code, 0, 'what is cached is read')
      await disk.thaw()
      await until(async () => (await read(first)).code === 0)

      await disk.freeze()
      t.match(await read(second), failed)
      await lab.umount(second)
      await lab.umount(first)
      t.equal((await read(warm)).code, 0, 'a mount goes on without the others')
      await lab.umount(warm)
      await gone(lab)
    } finally {
      await disk.thaw()
    }
    await takeAway(lab, disk)
  },
)

mountTest('a mount whose log lies on a disk that hangs ends, and disturbs no other', { skip }, async (t, lab) => {
  const disk = await makeDisk(lab)
  const { archive, store } = await packFiles(lab.dir, 'one', { file: randomBytes(600_000) })
  const words = ['--store', `dir://${store}`]
  const other = await lab.mount(archive, { words })
  const mounted = await lab.mount(archive, { words: [...words, '--log', join(disk.folder, 'log')] })
  const read = () => lab.run('cat', [join(other.directory, 'file')], { timeoutMs: 90_000 })
  await disk.freeze()
  try {
    await lab.umount(mounted)
    t.equal((await read()).code, 0)
    await lab.umount(other)
    await gone(lab)
  } finally {
    await disk.thaw()
  }
  await takeAway(lab, disk)
})
