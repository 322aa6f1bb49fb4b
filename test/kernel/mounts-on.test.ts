import t from 'tap'
import { parseMounts } from '../../lib/kernel/mount-info.ts'
import { describeUsers, nameUsers } from '../../lib/kernel/mount-users.ts'
import { liesIn, mountsOn } from '../../lib/kernel/mounts-on.ts'
import { only } from '../only.ts'

/** Lines as `id parent minor directory type options`. */
function tree(...lines: readonly string[]) {
  return parseMounts(
    lines
      .map((line) => {
        const [id, parent, minor, directory, type, options = 'rw'] = line.split(' ')
        return `${id} ${parent} 0:${minor} / ${directory} rw - ${type} none ${options}`
      })
      .join('\n'),
  )
}

t.test('mountsOn() finds what stands on a mount, and on that', async (t) => {
  const mounts = tree(
    '1 0 1 / ext4',
    '2 1 40 /mnt/a fuse.flistfs',
    '3 2 50 /mnt/a/dev devtmpfs',
    '4 3 51 /mnt/a/dev/pts devpts',
    // The machine's own: the same device as what is mounted inside.
    '5 1 50 /dev devtmpfs',
    '6 1 60 /over overlay ro,lowerdir=/other:/mnt/a/usr,upperdir=/up,workdir=/work',
    '7 1 60 /over-again overlay rw,lowerdir=/other:/mnt/a/usr',
    '8 1 61 /over-over overlay rw,lowerdir=/l,upperdir=/over/x',
    '9 1 40 /bind fuse.flistfs',
    '10 1 62 /alien overlay rw,lowerdir=/mnt/ab:/m,upperdir=/mnt',
    '11 1 41 /mnt/ab fuse.flistfs',
  )
  const { mounts: found, folders } = mountsOn(mounts[1]!, mounts)
  t.strictSame(found.map(({ directory, how }) => `${directory} ${how}`).toSorted(), [
    '/bind bind',
    '/mnt/a/dev inside',
    '/mnt/a/dev/pts inside',
    '/over overlay',
    '/over-again bind',
    '/over-over overlay',
  ])
  t.strictSame(folders.toSorted(), ['/bind', '/mnt/a', '/over', '/over-again', '/over-over'])
})

t.test('mountsOn() finds it in the tree of another namespace, where it has another number', async (t) => {
  const [here] = tree('2 1 40 /mnt/a fuse.flistfs')
  const there = tree('90 0 1 / ext4', '91 90 40 /in fuse.flistfs', '92 91 50 /in/x tmpfs', '93 90 40 /in2 fuse.flistfs')
  t.strictSame(mountsOn(here!, there).folders, ['/in', '/in2'])
  t.strictSame(mountsOn(here!, tree('90 0 1 / ext4')), { mounts: [], folders: [] })
})

t.test('mountsOn() reads layers with commas, colons, backslashes and blanks in their names', async (t) => {
  for (const [directory, layer] of [
    [String.raw`/a\040b`, String.raw`lowerdir=/x:/a\040b/usr`],
    ['/a,b', String.raw`lowerdir=/a\054b`],
    ['/a:b', String.raw`lowerdir=/a\134:b:/y`],
    [String.raw`/a\134b`, String.raw`lowerdir=/a\134\134b`],
    ['/plus', 'lowerdir+=/x,lowerdir+=/plus,datadir+=/z'],
  ] as const) {
    const mounts = tree(`1 0 40 ${directory} fuse.flistfs`, `2 0 60 /over overlay rw,${layer}`)
    t.match(only(mountsOn(mounts[0]!, mounts).mounts), { directory: '/over', how: 'overlay' }, layer)
  }
})

t.test('liesIn() goes by whole names', async (t) => {
  t.ok(liesIn('/a', ['/a']))
  t.ok(liesIn('/a/b (deleted)', ['/x', '/a']))
  t.ok(liesIn('/b', ['/']))
  t.notOk(liesIn('/ab', ['/a']))
  t.notOk(liesIn('', ['/a']))
  t.notOk(liesIn('socket:[1]', ['/a']))
})

t.test('nameUsers() names a dozen, and counts the rest', async (t) => {
  const processes = Array.from({ length: 30 }, (_, n) => ({ pid: n, command: 'sh', uses: ['folder'] }))
  const users = { mounts: [{ directory: '/x', how: 'bind', type: 'fuse.flistfs' }], processes } as const
  t.equal(describeUsers(users).length, 31)
  t.match(nameUsers(users), /^bind on "\/x", sh \(0: folder\), .*sh \(10: folder\), 19 more$/)
  t.equal(nameUsers({ mounts: [], processes: [] }), '')
})
