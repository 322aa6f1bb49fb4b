import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Done, FLISTFS, type Lab, lacks, mountTest, PROGRAMS, PROJECT, until } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
const SKIP = lacks('mount', 'umount', 'unshare', 'nsenter', 'findmnt')
const SBIN = '/usr/sbin'
/** Keeps a tree of mounts; without the variable by which a test's servers are counted. */
const HOLDER = ['-u', 'FLISTFS_RUNTIME', 'unshare', '--mount', '--propagation', 'private', 'sleep', '3600']

/**
 * A tree of mounts of its own in which `flistfs setup` has run: mount(8) looks for helpers in the real /sbin alone, and the
 * machine's must stay as it is.
 */
async function begin(lab: Lab): Promise<(...words: readonly string[]) => Promise<Done>> {
  const holder = lab.start('env', HOLDER)
  const inside = (...words: readonly string[]): Promise<Done> =>
    lab.run('nsenter', ['--target', String(holder.pid), '--mount', '--', ...words])
  const own = await lab.ok('readlink', ['/proc/self/ns/mnt'])
  await until(async () => (await inside('readlink', '/proc/self/ns/mnt')).stdout.toString() !== own)
  const layer = lab.folder('layer')
  const script = `mount -t tmpfs none ${layer} && mkdir ${layer}/u ${layer}/w &&
    mount -t overlay -o lowerdir=${SBIN},upperdir=${layer}/u,workdir=${layer}/w none ${SBIN} &&
    ln -sf "$0" /sbin/mount.flistfs && ln -sf "$0" /sbin/mount.fuse.flistfs`
  const done = await inside('sh', '-c', script, join(PROGRAMS, 'mount.flistfs'))
  if (done.code !== 0) throw new Error(done.stderr)
  return inside
}

mountTest('mount -t flistfs mounts, and umount ends it', { skip: SKIP }, async (t, lab) => {
  const inside = await begin(lab)
  const at = lab.folder('at')
  t.match(await inside('mount', '-t', 'flistfs', SAMPLE, at), { code: 0, stderr: '' })
  t.match(await inside('findmnt', '-n', '-o', 'SOURCE,FSTYPE,OPTIONS', at), {
    stdout: new RegExp(`^${SAMPLE} +fuse\\.flistfs +ro,nosuid,nodev,relatime,`),
  })
  t.match((await inside('cat', join(at, 'etc/debian_version'))).stdout.toString(), /^12\.\d+\n$/)
  t.match(await inside('umount', at), { code: 0 })
  await until(() => lab.servers().length === 0)
})

mountTest('options of mount(8) reach flistfs', { skip: SKIP }, async (t, lab) => {
  const inside = await begin(lab)
  const at = lab.folder('at')
  const cache = lab.folder('a cache, with blank')
  const list = `rw,noexec,setuid,allow-other,log-level=debug,log=${lab.path('log-own')},cache=${cache.replace(',', '\\,')},upperdir=${lab.path('up')}`
  t.match(await inside('mount', '-t', 'flistfs', '-o', list, SAMPLE, at), { code: 0, stderr: '' })
  const [listed] = JSON.parse((await inside('sh', FLISTFS, 'list', '--json')).stdout.toString())
  t.match(listed, { directory: at, archive: SAMPLE, cacheDir: cache, rw: { upper: lab.path('up') } })
  t.match((await inside('findmnt', '-n', '-o', 'OPTIONS', at)).stdout.toString(), /^rw,nodev,noexec,/)
  t.match(await inside(join(at, 'bin/true')), { code: 126 }, 'nothing is run from it')
  t.ok(existsSync(lab.path('log-own')))
  t.match(await inside('umount', at), { code: 0 })
  await until(() => lab.servers().length === 0)
})

mountTest('mount -o nosymfollow follows no links, of a writable mount either', { skip: SKIP }, async (t, lab) => {
  const inside = await begin(lab)
  const at = lab.folder('at')
  // What mount(8) says to all beside it.
  const general =
    'sync,dirsync,mand,iversion,lazytime,noatime,X-mount.mkdir,x-foo=1,_netdev,context=system_u:object_r:x:s0'
  for (const list of ['nosymfollow', `nosymfollow,upper=${lab.path('up')}`]) {
    t.match(await inside('mount', '-t', 'flistfs', '-o', `${list},${general}`, SAMPLE, at), { code: 0, stderr: '' })
    const line = (await inside('cat', '/proc/self/mountinfo')).stdout.toString().split('\n')
    t.match(line.find((one) => one.split(' ')[4] === at)?.split(' ')[5], /(?:^|,)nosymfollow(?:,|$)/, list)
    t.match(await inside('ln', '-s', 'debian_version', join(at, 'etc/new')), { code: list.includes('upper') ? 0 : 1 })
    t.match((await inside('readlink', join(at, 'etc/os-release'))).stdout.toString(), /usr\/lib\/os-release/)
    t.match(await inside('cat', join(at, 'etc/os-release')), { code: 1, stderr: /Too many levels of symbolic links/ })
    t.match(await inside('cat', join(at, 'usr/lib/os-release')), { code: 0 })
    t.match(await inside('umount', at), { code: 0 })
  }
  await until(() => lab.servers().length === 0)
})

mountTest('mount(8) hears what went wrong by its own codes', { skip: SKIP }, async (t, lab) => {
  const inside = await begin(lab)
  const at = lab.folder('at')
  const mount = (...words: readonly string[]) => inside('mount', '-t', 'flistfs', ...words)
  t.match(await mount('-o', 'bogus=1', SAMPLE, at), { code: 1, stderr: /Cannot understand "bogus" after -o/ })
  t.match(await mount('-o', 'foreground', SAMPLE, at), { code: 1, stderr: /Cannot use "foreground" after -o/ })
  t.match(await mount(lab.path('none.fl'), at), { code: 32, stderr: /Cannot find the archive/ })
  t.match(await mount(SAMPLE, lab.path('none')), { code: 32, stderr: /no such folder/ })
  t.match(await inside('mount', '--fake', '-t', 'flistfs', SAMPLE, at), { code: 0 })
  t.match(await inside('mountpoint', '-q', at), { code: 32 }, 'a fake mount mounts nothing')
  t.match(await inside('/sbin/mount.flistfs', SAMPLE), { code: 1, stderr: /1 names/ })
  t.match(await inside('/sbin/mount.flistfs', SAMPLE, at, '-z'), { code: 1, stderr: /"-z"/ })
  t.match(await inside('/sbin/mount.flistfs', SAMPLE, at, '-o'), { code: 1, stderr: /"-o" without its value/ })
  await until(() => lab.servers().length === 0)
})

mountTest('the type may be what mountinfo says, and options of a mount stay', { skip: SKIP }, async (t, lab) => {
  const inside = await begin(lab)
  const at = lab.folder('at')
  t.match(await inside('mount', '-t', 'fuse.flistfs', '-o', 'noexec', SAMPLE, at), { code: 0, stderr: '' })
  const options = async () => (await inside('findmnt', '-n', '-o', 'FSTYPE,OPTIONS', at)).stdout.toString()
  const before = await options()
  t.match(before, /^fuse\.flistfs ro,nosuid,nodev,noexec,/)
  // No line of fstab has it, so mount(8) takes the type from mountinfo.
  t.match(await inside('mount', '-o', 'remount,exec', at), { code: 1, stderr: /by "remount"[^]*hint: Unmount it/ })
  t.match(await inside('mount', '-t', 'flistfs', '-o', 'remount,exec', SAMPLE, at), { code: 1, stderr: /"remount"/ })
  t.equal(await options(), before)
  // The kernel by itself makes it writable in name only.
  t.match(await inside('mount', '-i', '-o', 'remount,rw', at), { code: 0 })
  for (const words of [
    ['touch', 'new'],
    ['rm', 'etc/debian_version'],
    ['truncate', '--size=1', 'etc/debian_version'],
    ['chmod', '777', 'root'],
    ['mv', 'etc', 'other'],
  ] as const) {
    const done = await inside('sh', '-c', 'cd "$0" && exec "$@"', at, ...words)
    t.match(done, { code: 1, stderr: /Read-only file system/ }, words.join(' '))
  }
  t.match((await inside('cat', join(at, 'etc/debian_version'))).stdout.toString(), /^12\.\d+\n$/)
  t.match(await inside('umount', at), { code: 0 })
  await until(() => lab.servers().length === 0)
})

mountTest('lines of fstab are mounted, once', { skip: SKIP }, async (t, lab) => {
  const inside = await begin(lab)
  const [plain, writable] = [lab.folder('plain'), lab.folder('with blank')]
  const fstab = lab.path('fstab')
  writeFileSync(
    fstab,
    `# <archive> <folder> <type> <options>
${SAMPLE} ${plain} flistfs defaults,nofail,_netdev,x-systemd.automount,timeout=1m 0 0
${SAMPLE} ${writable.replace(' ', '\\040')} flistfs upperdir=${lab.dir}/up\\040per,comment=mine 0 0
${SAMPLE} ${lab.folder('manual')} flistfs noauto,user 0 0
`,
  )
  t.match(await inside('mount', '--all', '--fstab', fstab), { code: 0, stderr: '' })
  t.match(await inside('cat', join(plain, 'etc/debian_version'), join(writable, 'etc/debian_version')), { code: 0 })
  t.match(await inside('touch', join(writable, 'new')), { code: 0 })
  t.ok(existsSync(lab.path('up per/upper/new')))
  t.match(await inside('mountpoint', '-q', lab.path('manual')), { code: 32 }, 'noauto is not mounted by --all')
  t.match(
    await inside('mount', '--all', '--fstab', fstab),
    { code: 0, stderr: '' },
    'again, and nothing is mounted twice',
  )
  const found = JSON.parse((await inside('findmnt', '-J', '-l')).stdout.toString()) as {
    filesystems: { target: string }[]
  }
  for (const at of [plain, writable]) t.equal(found.filesystems.filter(({ target }) => target === at).length, 1, at)
  t.match(await inside('mount', '--fstab', fstab, lab.path('manual')), { code: 0, stderr: '' }, 'and one by its folder')
  t.match((await inside('findmnt', '-n', '-o', 'OPTIONS', lab.path('manual'))).stdout.toString(), /nosuid,nodev,noexec/)
  t.match(await inside('umount', plain, writable, lab.path('manual')), { code: 0 })
  await until(() => lab.servers().length === 0)
})

mountTest('mount --namespace mounts in the tree of another', { skip: SKIP }, async (t, lab) => {
  const inside = await begin(lab)
  const other = lab.start('env', HOLDER)
  const there = (...words: readonly string[]) => lab.run('nsenter', ['-t', String(other.pid), '-m', '--', ...words])
  const own = await lab.ok('readlink', ['/proc/self/ns/mnt'])
  await until(async () => (await there('readlink', '/proc/self/ns/mnt')).stdout.toString() !== own)
  const at = lab.folder('at')
  t.match(await inside('mount', '--namespace', String(other.pid), '-t', 'flistfs', SAMPLE, at), { code: 0, stderr: '' })
  t.match(await inside('mountpoint', '-q', at), { code: 32 })
  t.match(await there('cat', join(at, 'etc/debian_version')), { code: 0 })
  t.match(await there('umount', at), { code: 0 })
  await until(() => lab.servers().length === 0)
})
