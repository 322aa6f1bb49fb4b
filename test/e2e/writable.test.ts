import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { goldenDir } from '../golden.ts'
import { type Lab, lacks, mountTest, PROJECT, until } from './mounted.ts'
import { packTree } from './pack-tree.ts'

const golden = goldenDir()
const ARCHIVE = golden ? `${golden}/fl/debian.fl` : join(PROJECT, 'fixtures/sample/debian.fl')
const STORE = ['--store', `dir://${golden ? `${golden}/fl/store` : join(PROJECT, 'fixtures/sample/store')}`]

/** Runs a script by bash inside the mounted root. */
function inside(lab: Lab, mounted: { readonly directory: string }, script: string): Promise<string> {
  const words = ['/bin/bash', '-euc', `export PATH=/usr/bin:/bin; ${script}`]
  return lab.ok('chroot', [mounted.directory, ...words])
}

/** One digest over names, attributes and content. Inode numbers and blocks are left out. */
async function summary(lab: Lab, directory: string): Promise<string> {
  const script = String.raw`{ find . -mindepth 1 -printf '%P %y %m %U %G %T@ %n %l\n' | LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum; } | sha256sum`
  return lab.ok('sh', ['-c', script], { cwd: directory })
}

/** Everything the cache holds but its bookkeeping, which each mount writes. */
async function cacheDigest(lab: Lab): Promise<string> {
  return lab.ok(
    'sh',
    ['-c', `find v1 -type f \\( -name '*.seg' -o -path '*index*' \\) -print0 | LC_ALL=C sort -z | xargs -0 sha256sum`],
    { cwd: lab.cache },
  )
}

// Of coreutils, those that need libselinux do not run in this tree: busybox stands in.
const CHANGES = String.raw`
  test "$(echo $((6 * 7)))" = 42
  busybox ls /usr/bin | head -n 3 > /three
  test "$(wc -l < /three)" = 3
  echo changed >> /etc/issue
  busybox mkdir -p /new/folder && echo text > /new/folder/file
  rm /usr/bin/head
  busybox mv /etc/debian_version /etc/renamed
  rm -r /usr/share/doc && busybox mkdir /usr/share/doc && echo opaque > /usr/share/doc/here
  busybox mv /usr/share/zoneinfo/Europe /usr/share/zoneinfo/Old
  busybox chmod 700 /usr/bin/cat && busybox ln -s cat /usr/bin/dog
  cat /etc/issue
`

mountTest(
  'a Debian root mounted --upper runs programs, keeps what they do, and touches nothing below',
  {},
  async (t, lab) => {
    const archiveBefore = createHash('sha256').update(readFileSync(ARCHIVE)).digest('hex')
    const reader = await lab.mount(ARCHIVE, { words: STORE })
    const lowerBefore = await summary(lab, reader.directory)
    const cacheBefore = await cacheDigest(lab)
    t.match(cacheBefore, '.seg')

    const words = [...STORE, '--upper', lab.path('changes'), '--dev']
    const first = await lab.mount(ARCHIVE, { words })
    t.match(await inside(lab, first, CHANGES), /changed\n$/)
    t.equal(await inside(lab, first, 'cat /new/folder/file'), 'text\n')
    const left = await summary(lab, first.directory)
    t.not(left, lowerBefore)
    await lab.umount(first)

    const second = await lab.mount(ARCHIVE, { words })
    t.equal(await summary(lab, second.directory), left, 'mounted again with the same folder it is as it was left')
    t.strictSame(readdirSync(join(lab.path('changes'), 'upper/new/folder')), ['file'], 'the changes lie in the folder')
    t.equal(
      await inside(lab, second, '[ ! -e /usr/bin/head ] && echo /usr/share/doc/* && dog /etc/issue'),
      `/usr/share/doc/here\n${await inside(lab, second, 'cat /etc/issue')}`,
    )
    await inside(lab, second, 'rm -r /new; echo more > /more')
    await lab.ok('umount', [second.directory])
    const listed = async (): Promise<string> => (await lab.flistfs(['list', '--json'])).stdout.toString('utf8')
    await until(async () => !(await listed()).includes(`"${second.directory}"`))
    t.pass('a plain umount(8) ends the mount')

    const third = await lab.mount(ARCHIVE, { words })
    t.equal(await inside(lab, third, '[ ! -e /new ] && cat /more'), 'more\n')
    await lab.umount(third)

    t.equal(createHash('sha256').update(readFileSync(ARCHIVE)).digest('hex'), archiveBefore, 'the archive is untouched')
    t.equal(await cacheDigest(lab), cacheBefore, 'the cached content is untouched')
    t.equal(await summary(lab, reader.directory), lowerBefore, 'the read-only mount of the same archive is untouched')
  },
)

mountTest('a file changed at an earlier mount is opened again and again', {}, async (t, lab) => {
  const words = [...STORE, '--upper', lab.path('changes')]
  const first = await lab.mount(ARCHIVE, { words })
  await inside(lab, first, 'busybox chmod 700 /usr/bin/cat; echo x >> /etc/issue')
  await lab.umount(first)
  for (const nth of [1, 2]) {
    const again = await lab.mount(ARCHIVE, { words })
    for (const _ of [1, 2, 3]) {
      // An overlay that looks for the file below by its handle gets ESTALE at the second time (decision 070).
      t.match(await inside(lab, again, 'cat /etc/issue'), /x\n$/, `mount ${nth}`)
      await lab.ok('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches'])
    }
    await lab.umount(again)
  }
})

mountTest('--rw without --upper throws the changes away', {}, async (t, lab) => {
  const words = [...STORE, '--rw']
  const first = await lab.mount(ARCHIVE, { words })
  const before = await summary(lab, first.directory)
  await inside(lab, first, 'echo gone > /gone; rm /etc/issue; cat /gone')
  await lab.umount(first)
  const rw = join(lab.cache, 'v1/rw')
  t.strictSame(existsSync(rw) ? readdirSync(rw) : [], [], 'nothing of it is kept')
  const second = await lab.mount(ARCHIVE, { words })
  t.equal(await summary(lab, second.directory), before)
  await lab.ok('umount', [second.directory])
  await until(() => lab.servers().length === 0)
  t.strictSame(existsSync(rw) ? readdirSync(rw) : [], [], 'nor after a plain umount(8)')
})

mountTest('a folder with changes to one archive is refused for another, or while it is in use', {}, async (t, lab) => {
  const upper = lab.path('changes')
  const words = [...STORE, '--upper', upper]
  const first = await lab.mount(ARCHIVE, { words })
  await inside(lab, first, 'echo mine > /mine')
  const twice = await lab.tryMount(ARCHIVE, { words })
  t.match([twice.code, twice.stderr], [1, /FLIST_MOUNT_FAILED.*in use/])
  t.equal(await inside(lab, first, 'cat /mine'), 'mine\n', 'the first is as it was')
  await lab.umount(first)

  const other = await lab.tryMount(join(PROJECT, 'fixtures/golden/fl/empty.fl'), { words: ['--upper', upper] })
  t.match([other.code, other.stderr], [1, /FLIST_MOUNT_FAILED.*another archive.*--upper/])
  await until(() => lab.servers().length === 0)
  const again = await lab.mount(ARCHIVE, { words })
  t.equal(await inside(lab, again, 'cat /mine'), 'mine\n', 'nothing was spoiled')
})

mountTest(
  'an overlay of our own on a mount, also with nfs_export, keeps hard links and inode numbers',
  {},
  async (t, lab) => {
    const mounted = await lab.mount(ARCHIVE, { words: STORE })
    for (const options of ['index=on', 'nfs_export=on,index=on', 'index=on,xino=on,metacopy=on,redirect_dir=on']) {
      const name = options.replaceAll(/\W/g, '-')
      const [upper, work, merged] = [
        lab.folder(`${name}/upper`),
        lab.folder(`${name}/work`),
        lab.folder(`${name}/merged`),
      ]
      const overlay = `lowerdir=${mounted.directory},upperdir=${upper},workdir=${work},${options}`
      await lab.ok('mount', ['-t', 'overlay', 'overlay', '-o', overlay, merged])
      t.equal(await summary(lab, merged), await summary(lab, mounted.directory), `${options}: the same tree`)
      const ino = await lab.ok('stat', ['-c', '%i', `${merged}/etc/issue`])
      const change = 'echo x >> /etc/issue; busybox mv /usr/share/doc /usr/share/papers; rm /usr/bin/head'
      await inside(lab, { directory: merged }, change)
      await lab.ok('sh', ['-c', 'echo 3 > /proc/sys/vm/drop_caches'])
      t.equal(
        await lab.ok('stat', ['-c', '%i', `${merged}/etc/issue`]),
        ino,
        `${options}: the number stays after copy-up`,
      )
      if (options.startsWith('nfs_export')) {
        const done = await lab.script('handles.ts', [merged, 'usr/bin', 'etc', '.'])
        // Folders get another number each time they are found again: what counts is that they are.
        t.notMatch(done.stdout.toString() + done.stderr, /errno/, 'handles through the overlay')
      }
      await lab.ok('umount', [merged])
      // Whoever made a namespace of mounts meanwhile has the overlay there too, and with it the upper folder, until that ends.
      await until(async () => {
        const again = await lab.run('mount', ['-t', 'overlay', 'overlay', '-o', overlay, merged])
        if (again.code !== 0) t.match(again.stderr.toString(), /already mounted|busy/)
        return again.code === 0
      })
      t.equal(await lab.ok('stat', ['-c', '%i', `${merged}/etc/issue`]), ino, `${options}: and after mounting again`)
      await lab.ok('umount', [merged])
    }
  },
)

mountTest(
  'the root of a writable mount has the attributes of the archive',
  { skip: lacks('getfattr') },
  async (t, lab) => {
    const tree = lab.folder('tree')
    await lab.ok('sh', ['-c', 'chown 7:8 "$0"; chmod 1775 "$0"; touch -d "2001-02-03 04:05:06.123456789" "$0"', tree])
    const xattrs = new Map([['', [{ name: Buffer.from('user.note'), value: Buffer.from('of the root') }]]])
    await packTree(tree, lab.path('root.fl'), lab.folder('store'), xattrs)
    const mounted = await lab.mount('root.fl', { words: ['--rw'] })
    const facts = await lab.ok('stat', ['-c', '%a %u %g %y', mounted.directory])
    t.match(facts, /^1775 7 8 2001-02-03 04:05:06\.123456789/)
    t.match(await lab.ok('getfattr', ['-d', '--absolute-names', mounted.directory]), 'user.note="of the root"')
    await lab.umount(mounted)
  },
)
