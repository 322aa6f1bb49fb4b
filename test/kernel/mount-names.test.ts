import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseMounts, readMounts } from '../../lib/kernel/mount-info.ts'
import { followName, mountAbove, mountNamed } from '../../lib/kernel/mount-names.ts'

t.test('mountAbove() gives the mount that a name lies in, or stands for', async (t) => {
  const mounts = parseMounts(['/', '/a', '/a/b'].map((at) => `1 0 0:1 / ${at} rw - tmpfs ${at} rw`).join('\n'))
  for (const [name, at] of [
    ['/a', '/a'],
    ['/a/c/d', '/a'],
    ['/a/b/', '/a/b'],
    ['/ab', '/'],
  ] as const)
    t.equal(mountAbove(mounts, name)?.source, at, name)
  t.equal(mountAbove([], '/a'), undefined)
})

t.test('mountNamed() follows links to a mount', async (t) => {
  const dir = t.testdir()
  symlinkSync('/proc', join(dir, 'link'))
  symlinkSync('/', join(dir, 'root'))
  mkdirSync(join(dir, 'plain'))
  const mounts = readMounts()
  t.equal((await mountNamed(mounts, '/proc'))?.type, 'proc')
  t.equal((await mountNamed(mounts, '/proc/'))?.type, 'proc')
  t.equal((await mountNamed(mounts, join(dir, 'link')))?.type, 'proc')
  t.equal((await mountNamed(mounts, join(dir, 'root/proc')))?.type, 'proc')
  t.equal(await mountNamed(mounts, join(dir, 'plain')), undefined)
  t.equal(await mountNamed(mounts, join(dir, 'absent/deeper')), undefined)
})

t.test('followName() goes to the first mount that may hang, and does not touch it', async (t) => {
  const dir = t.testdir({
    mnt: { etc: { link: t.fixture('symlink', '..') } },
    into: t.fixture('symlink', 'mnt/etc/link'),
  })
  symlinkSync(join(dir, 'mnt/../out/./x'), join(dir, 'beside'))
  symlinkSync('round', join(dir, 'round'))
  const mounts = (type: string) => parseMounts(`1 0 0:1 / ${dir}/mnt rw - ${type} x rw`)
  for (const type of ['fuse.flistfs', 'overlay', 'nfs4']) {
    t.strictSame(followName(mounts(type), join(dir, 'into')), { path: join(dir, 'mnt/etc/link'), isWhole: false }, type)
  }
  t.strictSame(followName(mounts('tmpfs'), join(dir, 'into')), { path: join(dir, 'mnt'), isWhole: true })
  t.strictSame(followName(mounts('fuse'), join(dir, 'mnt')), { path: join(dir, 'mnt'), isWhole: true })
  t.strictSame(followName(mounts('fuse'), join(dir, 'beside')), { path: join(dir, 'out/x'), isWhole: true })
  t.equal(followName([], join(dir, 'round')).path, join(dir, 'round'), 'a link to itself ends')
  const system = parseMounts('1 0 0:1 / / rw - overlay x rw')
  t.strictSame(followName(system, join(dir, 'into')), { path: join(dir, 'mnt'), isWhole: true })
})
