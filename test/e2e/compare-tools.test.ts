import { FlWriter } from '../../lib/flist/index.ts'
import { type Lab, lacks, type Mounted, mountTest } from './mounted.ts'
import { packTree } from './pack-tree.ts'

/** What a careful archiver must keep, made by ordinary commands. Lines run in a shell in the tree's folder. */
const TREE = String.raw`
set -e
umask 022
mkdir -p plain deep/a/b/c/d/e empty odd modes acl caps times links special many
head -c 0 /dev/zero > plain/zero
head -c 1 /dev/urandom > plain/one
head -c 524287 /dev/urandom > plain/block-less-one
head -c 524288 /dev/urandom > plain/block
head -c 524289 /dev/urandom > plain/block-and-one
head -c 3000000 /dev/urandom > plain/many-blocks
truncate -s 5M plain/hole; printf end >> plain/hole
for n in $(seq 1 400); do printf "file $n" > many/$n; done
cp plain/one deep/a/b/c/d/e/bottom
ln plain/block links/hard-1; ln plain/block deep/hard-2; mknod special/fifo-1 p; ln special/fifo-1 special/fifo-2
ln -s nowhere links/dangling; ln -s /etc/passwd links/absolute; ln -s . links/self; ln links/dangling links/dangling-2
ln -s "$(printf 'x%.0s' $(seq 1 4000))" links/long
mknod special/null c 1 3; mknod special/large b 4000 1000000; mknod special/whiteout c 0 0
for m in 0000 0400 0644 0755 1777 2755 4755 6711 7777; do touch modes/$m; chmod $m modes/$m; done
mkdir modes/dir-2775 modes/dir-1777; chmod 2775 modes/dir-2775; chmod 1777 modes/dir-1777
touch modes/owned modes/large-id; chown 1234:5678 modes/owned; chown 4294967294:4294967293 modes/large-id
printf a > "odd/$(printf 'n%.0s' $(seq 1 255))"
printf b > "odd/ blanks "; printf c > "odd/new
line"; printf d > "odd/tab	*?[]'\"\$"; printf e > "odd/$(printf '\377\376raw')"; printf f > odd/-dash; printf g > odd/Case; printf h > odd/case
mkdir "odd/$(printf '\351dir')"; printf i > "odd/$(printf '\351dir')/inside"
touch -d '1969-12-31 23:59:58.5 UTC' times/before-1970; touch -d '1901-12-13 UTC' times/1901
touch -d '2106-02-07 06:28:16.123456789 UTC' times/after-2106; touch -d '2300-01-01 UTC' times/2300; touch -d '1970-01-01 UTC' times/zero
touch -h -d '2001-02-03 04:05:06.7 UTC' links/absolute
`
const XATTRS = String.raw`
set -e
setfattr -n user.text -v 'some text' plain/one
setfattr -n user.binary -v 0x00ff000a plain/one
setfattr -n user.empty plain/one
setfattr -n user.large -v "$(printf 'v%.0s' $(seq 1 3000))" plain/block
setfattr -n user.on-folder -v folder deep
setfattr -n trusted.secret -v root plain/zero
setfattr -h -n trusted.on-link -v link links/dangling
touch caps/ping; setfattr -n security.capability -v 0x0100000200200000000000000000000000000000 caps/ping
touch acl/file; setfacl -m u:1234:rwx,g:5678:r-x,m::rwx acl/file
mkdir acl/folder; setfacl -m u:1234:r-x -d -m u:1234:rwx,o::--- acl/folder
touch -d '2020-01-02 03:04:05.060708090 UTC' acl acl/folder plain deep .
`

interface Both {
  readonly tree: string
  readonly mounted: Mounted
}

async function mountBoth(lab: Lab): Promise<Both> {
  const tree = lab.folder('tree')
  await lab.ok('sh', ['-c', TREE], { cwd: tree })
  await lab.ok('sh', ['-c', XATTRS], { cwd: tree })
  const stores = ['--store', `dir://${lab.folder('store')}`]
  const packed = await lab.flistfs(['pack', tree, lab.path('tree.fl'), ...stores])
  if (packed.code !== 0) throw new Error(`pack ended with ${packed.code}: ${packed.stderr}`)
  return { tree, mounted: await lab.mount(lab.path('tree.fl'), { words: ['--allow-other', '--suid', '--dev'] }) }
}

const skip = lacks('rsync', 'getfattr', 'setfattr', 'getfacl', 'setfacl', 'tar')

mountTest(
  'rsync, tar, find, getfattr, getfacl and cp see no difference to the tree that was packed',
  { skip },
  async (t, lab) => {
    const { tree, mounted } = await mountBoth(lab)
    const { directory } = mounted
    const shell = async (command: string): Promise<[string, string]> => [
      await lab.ok('sh', ['-c', command], { cwd: tree }),
      await lab.ok('sh', ['-c', command], { cwd: directory }),
    ]

    const rsync = ['-naHAXc', '--numeric-ids', '--devices', '--specials', '--delete', '--itemize-changes']
    t.equal(
      await lab.ok('rsync', [...rsync, `${tree}/`, `${directory}/`]),
      '',
      'rsync -naHAXc from the tree to the mount',
    )
    t.equal(await lab.ok('rsync', [...rsync, `${directory}/`, `${tree}/`]), '', 'and from the mount to the tree')

    const found = await shell(String.raw`find . -printf '%P %y %m %U %G %s %T@ %C@ %n %l\n' | sort | sha256sum`)
    t.equal(found[1], found[0], 'find -printf')
    const facts = String.raw`find . -printf '%y %m %U:%G %s %T@ %n %l %P\n' | sort`
    t.strictSame(...(await shell(`${facts} | tail -n +1`)), 'find -printf, line by line')
    const links = String.raw`find . -type f -links +1 -printf '%i %P\n' | sort | awk '{ if ($1 == last) printf " "; else print ""; printf $2; last = $1 }' | sort`
    t.strictSame(...(await shell(links)), 'the same names share an inode')

    const xattrs = await shell(
      String.raw`find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex --absolute-names`,
    )
    t.match(xattrs[0], 'security.capability', 'the tree has what is compared')
    t.equal(xattrs[1], xattrs[0], 'getfattr -d -m -')
    const acls = await shell('find . ! -type l -print0 | sort -z | xargs -0 getfacl -n -p')
    t.match(acls[0], 'default:user:1234:rwx', 'the tree has what is compared')
    t.equal(acls[1], acls[0], 'getfacl')

    const tar =
      'tar --create --sort=name --numeric-owner --format=posix --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime .'
    t.strictSame(...(await shell(`${tar} | sha256sum`)), 'tar makes the same bytes')
    // Attributes are listed in another order, so what was unpacked is compared.
    const options = '--format=posix --xattrs --xattrs-include="*" --acls --numeric-owner --same-permissions'
    for (const [from, to] of [
      [tree, lab.folder('from-tree')],
      [directory, lab.folder('from-mount')],
    ] as const) {
      await lab.ok('sh', ['-c', `tar --create ${options} . | tar --extract ${options} -C ${to}`], { cwd: from })
    }
    const unpacked = await lab.ok('rsync', [...rsync, lab.path('from-tree/'), lab.path('from-mount/')])
    t.equal(unpacked, '', 'tar with attributes unpacks to the same tree')

    const copy = lab.path('copy')
    await lab.ok('cp', ['-a', directory, copy])
    t.equal(await lab.ok('rsync', [...rsync, `${tree}/`, `${copy}/`]), '', 'cp -a of the mount is the tree again')
    t.equal((await lab.run('diff', ['-r', '--no-dereference', '-x', 'special', tree, directory])).code, 0, 'diff -r')
  },
)

mountTest(
  'what another user may do is what the modes, owners and ACLs say',
  { skip: skip || lacks('setpriv') },
  async (t, lab) => {
    const { mounted } = await mountBoth(lab)
    await lab.ok('chmod', ['755', lab.dir])
    const asUser = (uid: string, command: string): Promise<string> =>
      lab
        .run('setpriv', ['--reuid', uid, '--regid', uid, '--clear-groups', 'sh', '-c', command], {
          cwd: mounted.directory,
        })
        .then(({ code }) => String(code === 0))
    t.equal(await asUser('1234', 'cat modes/0644'), 'true', 'all may read 0644')
    t.equal(await asUser('1234', 'cat modes/0400'), 'false', 'others may not read 0400')
    t.equal(await asUser('1234', 'test -w acl/file || test -x acl/file'), 'true', 'the ACL lets 1234 in')
    t.equal(await asUser('4321', 'test -x acl/file'), 'false', 'and not 4321')
    t.equal(await asUser('1234', 'ls acl/folder'), 'true')
  },
)

mountTest(
  'a folder of 100,000 entries is listed whole, and telldir and seekdir find their place again',
  {},
  async (t, lab) => {
    const writer = new FlWriter(lab.path('many.fl'))
    const facts = { uid: 0, gid: 0, rdev: 0, size: 0, ctime: 0, mtime: 0 }
    const root = writer.addInode({ ...facts, parent: 0, name: Buffer.from(''), mode: 0o040755 })
    const names = Array.from({ length: 100_000 }, (_, nth) => `name-${nth}`)
    for (const name of names) writer.addInode({ ...facts, parent: root, name: Buffer.from(name), mode: 0o100644 })
    writer.finish()
    const { directory } = await lab.mount(lab.path('many.fl'))
    const listed = (await lab.ok('ls', ['-U', directory])).trimEnd().split('\n')
    t.strictSame(listed.toSorted(), names.toSorted(), 'each once')
    const seek = `
    opendir(my $d, $ARGV[0]) or die; my (@names, @at);
    while (1) { my $at = telldir($d); my $name = readdir($d); last unless defined $name; push @at, $at; push @names, $name }
    for my $nth (0, 1, 2, 3, 99, 5000, 77777, $#names, 12) { seekdir($d, $at[$nth]); my $name = readdir($d); print "$nth: $name, not $names[$nth]\n" if $name ne $names[$nth] }
    print scalar(@names)`
    t.equal(await lab.ok('perl', ['-e', seek, directory]), '100002', 'seekdir goes where telldir was')
  },
)

mountTest('handles made before the kernel dropped its caches open the same files', {}, async (t, lab) => {
  const tree = lab.folder('tree')
  await lab.ok('sh', ['-c', 'mkdir -p a/b/c; echo one > a/b/c/one; echo two > a/two; ln -s two a/link'], { cwd: tree })
  await packTree(tree, lab.path('tree.fl'), lab.folder('store'), new Map())
  const { directory } = await lab.mount(lab.path('tree.fl'))
  const done = await lab.script('handles.ts', [directory, 'a/b/c/one', 'a/two', 'a/b/c', '.'])
  t.strictSame([done.stdout.toString(), done.stderr], ['a/b/c/one: same\na/two: same\na/b/c: same\n.: same\n', ''])
})
