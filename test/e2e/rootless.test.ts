import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MountView } from '../kernel/served-mount.ts'
import { filesystemSuite } from '../vfs/filesystem-suite.ts'
import { everything, type SampleArchive } from '../vfs/sample-archive.ts'
import {
  NO_FUSERMOUNT,
  NO_NAMESPACE,
  NO_USER,
  openDeviceToAll,
  pathOf,
  publicFolder,
  USER,
  UserLab,
  type UserMount,
} from './as-user.ts'
import { FLISTFS, PROJECT, until } from './lab.ts'

// Each test has a deadline of its own; tap's for a whole file would end it without cleaning.
t.setTimeout(900_000)

const latin1 = (text: string): Buffer => Buffer.from(text, 'latin1')
const NAMESPACE = ['unshare', '-Urm']
/** What the kernel calls an id that a namespace has no name for. */
const NOBODY = 65_534

async function begin(t: Test): Promise<{ lab: UserLab; sample: SampleArchive }> {
  openDeviceToAll(t)
  const lab = new UserLab(t)
  return { lab, sample: await everything('/bin/cat').write(publicFolder(t)) }
}

t.test("a user's mount shows what is in the archive", { skip: NO_FUSERMOUNT, timeout: 600_000 }, async (t) => {
  const { lab, sample } = await begin(t)
  const mount = await lab.serve(t, sample.archivePath)
  await t.test('as he sees it', async (t) => {
    filesystemSuite(t, sample.entries, async () => new MountView(mount), {
      unreadable: { 'trusted.hidden': 'the kernel shows `trusted.` attributes to root alone' },
    })
  })
  await t.test('what it may do', async (t) => {
    const path = (name: string): Buffer => new MountView(mount).path(latin1(name))
    const line = readFileSync('/proc/self/mountinfo', 'latin1')
      .split('\n')
      .find((text) => text.includes(lab.directory))
    t.match(line, / ro,nosuid,nodev,.* fuse\.flistfs .*\/sample\.fl ro,user_id=/)
    t.notMatch(line, /default_permissions|allow_other/)
    await t.rejects(mount.examiner.ask('read', path('special/null'), 0, 1, 0), { code: 'EACCES' }, 'devices do nothing')
    t.equal(
      ((await mount.examiner.ask('run', path('program'), ['/proc/self/mounts'])) as [number])[0],
      0,
      'programs run',
    )
    await t.rejects(mount.examiner.ask('change', path('files/new'), 'create'), { code: 'EROFS' })
  })
})

t.test(
  'a mount in a user namespace shows what is in the archive',
  { skip: NO_NAMESPACE, timeout: 600_000 },
  async (t) => {
    const { lab, sample } = await begin(t)
    const mount = await lab.serve(t, sample.archivePath, [], NAMESPACE)
    const seen = sample.entries.map((entry) => ({
      ...entry,
      uid: entry.uid === 0 ? 0 : NOBODY,
      gid: entry.gid === 0 ? 0 : NOBODY,
    }))
    filesystemSuite(t, seen, async () => new MountView(mount), {
      unreadable: {
        'trusted.hidden': 'the kernel shows `trusted.` attributes to root alone',
        'system.posix_acl_access': 'ACLs need ids that the namespace has names for',
      },
    })
  },
)

/** The server's process, as the record has it. */
async function serverOf(lab: UserLab): Promise<number> {
  const [listing] = JSON.parse((await lab.flistfs('list', '--json')).stdout) as { pid: number; state: string }[]
  return listing?.pid ?? 0
}

async function serverAfter(lab: UserLab, before: number): Promise<number> {
  for (const end = Date.now() + 120_000; Date.now() < end;) {
    const now = await serverOf(lab)
    if (now !== before && now !== 0) return now
  }
  throw new Error(`still process ${before}`)
}

async function readsWell(t: Test, mount: UserMount, when: string): Promise<void> {
  const view = new MountView(mount)
  t.equal((await view.read(latin1('names/B'), 0, 10)).toString(), 'B', when)
  await mount.examiner.ask('drop_caches', null).catch(() => undefined)
  t.equal((await view.read(latin1('files/block-plus-1'), 524_288, 10)).length, 1, when)
}

t.test(
  "a user's mount survives its server, is upgraded, and ends",
  { skip: NO_FUSERMOUNT, timeout: 600_000 },
  async (t) => {
    const { lab, sample } = await begin(t)
    const mount = await lab.serve(t, sample.archivePath)
    await readsWell(t, mount, 'at first')
    process.kill(mount.pid, 'SIGKILL')
    await readsWell(t, mount, 'the server killed')
    const second = await serverAfter(lab, mount.pid)
    const upgraded = await lab.flistfs('upgrade', lab.directory)
    t.equal(upgraded.code, 0, upgraded.stderr)
    t.not(await serverOf(lab), second)
    await readsWell(t, mount, 'upgraded')
    const busy = await lab.run('sh', ['-c', `cd mount && sh ${FLISTFS} umount ${lab.directory}`])
    t.equal(busy.code, 1)
    t.match(busy.stderr, /it is in use/)
    const done = await lab.flistfs('umount', lab.directory)
    t.equal(done.code, 0, done.stderr)
    t.strictSame(await mount.gone, [0, null], 'supervisor and server end')
    t.notMatch(readFileSync('/proc/self/mountinfo', 'latin1'), lab.directory)
  },
)

t.test(
  'a user asks a mount in use to go, and a dead one is cleared',
  { skip: NO_FUSERMOUNT, timeout: 600_000 },
  async (t) => {
    const { lab, sample } = await begin(t)
    const mount = await lab.serve(t, sample.archivePath)
    process.kill(-(mount.server.pid ?? 0), 'SIGKILL')
    await mount.gone
    t.match((await lab.flistfs('list', '--json')).stdout, /"state":"dead"/)
    const again = await lab.serve(t, sample.archivePath)
    await readsWell(t, again, 'over a dead mount')
    const lazy = await lab.run('sh', [
      '-c',
      'exec 5<mount/names/B; sh "$0" umount --lazy "$1"; cat <&5',
      FLISTFS,
      lab.directory,
    ])
    t.equal(lazy.code, 0, lazy.stderr)
    t.match(lazy.stdout, /B$/, 'an open file is served to its end')
  },
)

t.test(
  'what a user may not have is refused with the way to it',
  { skip: NO_FUSERMOUNT, timeout: 600_000 },
  async (t) => {
    const { lab, sample } = await begin(t)
    const refused = async (words: readonly string[], message: RegExp, hint: RegExp, env = {}): Promise<void> => {
      const mount = ['mount', sample.archivePath, lab.directory, ...words]
      const done = await lab.run('sh', [FLISTFS, ...mount], {
        env: { ...lab.env, ...env },
      })
      t.equal(done.code, 1, words.join(' '))
      t.match(done.stderr, message)
      t.match(done.stderr, hint)
    }
    await refused(['--suid'], /with --suid: only root may/, /hint: Leave --suid out/)
    await refused(['--nosymfollow'], /with --nosymfollow: only root may/, /hint: .*unshare -Urm/)
    await refused(['--dev'], /with --dev: only root may/, /hint: Leave --dev out/)
    await refused(['--rw'], /writable: only root may/, /hint: .*unshare -Urm/)
    const bare = pathOf(lab.path('bin'), ['sh', 'date', 'sleep'])
    await refused([], /neither root nor fusermount3 is here/, /hint: Install fusermount3 .*package fuse3/, {
      PATH: bare,
    })
    // Beside a supervisor the device is its own; without one it is closed once, and what is said is why.
    const noted = await lab.run(
      '/usr/bin/env',
      ['-u', 'NODE_OPTIONS', process.execPath, join(PROJECT, 'bin/flistfs.ts'), 'demo'],
      {
        env: { ...lab.env, PATH: bare },
      },
    )
    t.equal(noted.code, 1)
    t.match(
      noted.stderr,
      /^flistfs: Cannot mount on .*: neither root nor fusermount3 is here\n {2}hint: Install fusermount3/,
    )
    writeFileSync(lab.path('bin/fusermount3'), '#!/bin/sh\n', { mode: 0o700 })
    await refused([], /you may not run fusermount3 \(EACCES\)/, /hint: Let root add you to the group/, { PATH: bare })
    const foreign = await lab.flistfs('mount', sample.archivePath, '/usr')
    t.equal(foreign.code, 1)
    t.match(foreign.stderr, /fusermount3 says: user has no write access/)
    t.match(foreign.stderr, /hint: A user mounts on folders of his own only/)
    t.match(await lab.flistfs('mount', sample.archivePath, lab.directory), { code: 0 })
    await refused([], /fusermount3 says: failed to access mountpoint/, /hint: See whether something is mounted there/)
    t.match(await lab.flistfs('umount', lab.directory), { code: 0 })
    t.notMatch(readFileSync('/proc/self/mountinfo', 'latin1'), lab.directory)
  },
)

/** A script as root in a tree of mounts of its own. */
async function inPrivate(lab: UserLab, script: string): ReturnType<UserLab['run']> {
  return lab.run('unshare', ['-m', 'sh', '-c', script], { uid: 0, gid: 0 })
}

const BECOME = `setpriv --reuid=${USER?.uid ?? 0} --regid=${USER?.gid ?? 0} --clear-groups`

t.test(
  '--allow-other follows fuse.conf, and then modes hold for all',
  { skip: NO_FUSERMOUNT, timeout: 600_000 },
  async (t) => {
    const { lab, sample } = await begin(t)
    const mount = `${BECOME} sh ${FLISTFS} mount --allow-other ${sample.archivePath} ${lab.directory}`
    const conf = (text: string): string =>
      `echo "${text}" > conf; chmod 644 conf; mount --bind conf /etc/fuse.conf || exit 9;`
    const refused = await inPrivate(lab, `${conf('#')} ${mount}`)
    if (refused.code === 9) return void t.pass('fuse.conf', { skip: 'needs /etc/fuse.conf' })
    t.equal(refused.code, 1)
    t.match(refused.stderr, /hint: .*user_allow_other.* into \/etc\/fuse\.conf/)
    const other = 'setpriv --reuid=1 --regid=1 --clear-groups'
    const allowed = await inPrivate(
      lab,
      `chmod 711 .; chown root run/..; chown ${USER?.uid ?? 0} .; ${conf('user_allow_other')} ${mount} >&2 || exit 8
    ${other} cat mount/names/B; ${other} cat mount/links/first && echo read; ${BECOME} cat mount/links/first && echo read
    ${BECOME} sh ${FLISTFS} umount ${lab.directory} >&2`,
    )
    t.equal(allowed.code, 0, allowed.stderr)
    t.equal(allowed.stdout, 'B', 'open files are read by all, the others by their owner')
  },
)

t.test('without a device the error says how to get one', { skip: NO_USER, timeout: 600_000 }, async (t) => {
  const { lab, sample } = await begin(t)
  const mount = `sh ${FLISTFS} mount ${sample.archivePath} ${lab.directory}`
  const dev = 'mount -t tmpfs none /dev; mknod -m 666 /dev/null c 1 3;'
  const absent = await inPrivate(lab, `${dev} ${BECOME} ${mount}`)
  t.match(absent.stderr, /"\/dev\/fuse" is not there\n {2}hint: Load the module: `modprobe fuse`/)
  const shut = await inPrivate(lab, `${dev} mknod -m 600 /dev/fuse c 10 229; ${BECOME} ${mount}`)
  t.match(shut.stderr, /"\/dev\/fuse" cannot be opened \(EACCES\)\n {2}hint: Let root say: chmod 666 \/dev\/fuse/)
  t.equal(shut.code, 1)
})

t.test('a writable mount in a user namespace', { skip: NO_NAMESPACE, timeout: 600_000 }, async (t) => {
  const { lab, sample } = await begin(t)
  const mount = await lab.serve(t, sample.archivePath, ['--upper', lab.path('changes')], NAMESPACE)
  const [enter = '', ...words] = mount.enter
  const sh = (script: string) => lab.run(enter, [...words, 'sh', '-c', `cd ${lab.directory} && ${script}`])
  const changed = await sh(
    'echo new > files/new && echo more >> names/B && rm files/one && mv names/b names/c && cat names/B',
  )
  t.equal(changed.code, 0, changed.stderr)
  t.equal(changed.stdout, 'Bmore\n')
  t.equal((await sh('ls files/one')).code, 2)
  const foreign = await sh('echo more >> links/first')
  t.not(foreign.code, 0, 'what belongs to an id without a name here cannot be copied up')
  process.kill(mount.pid, 'SIGKILL')
  t.equal((await sh('cat names/B files/new names/c')).stdout, 'Bmore\nnew\nb', 'changes outlive a server')
  mount.server.kill('SIGTERM')
  await mount.gone
  t.equal(readFileSync(lab.path('changes/upper/files/new'), 'utf8'), 'new\n')
  const again = await lab.serve(t, sample.archivePath, ['--upper', lab.path('changes')], NAMESPACE)
  const [, ...later] = again.enter
  const kept = await lab.run(enter, [
    ...later,
    'sh',
    '-c',
    `cd ${lab.directory} && cat names/B files/new; ls files/one`,
  ])
  t.equal(kept.stdout, 'Bmore\nnew\n')
  t.equal(kept.code, 2)
})

t.test(
  'mounts of a user namespace end when nobody is left in it',
  { skip: NO_NAMESPACE, timeout: 600_000 },
  async (t) => {
    const { lab, sample } = await begin(t)
    const [command = '', ...words] = NAMESPACE
    // Each namespace has a folder of records.
    const run = (script: string, ...more: string[]) =>
      lab.run(command, [
        ...words,
        'env',
        '-u',
        'FLISTFS_RUNTIME',
        'sh',
        '-c',
        script,
        'sh',
        FLISTFS,
        sample.archivePath,
        lab.directory,
        ...more,
      ])
    const tree = lab.folder('tree')
    // Somebody stays in this one until the other has ended, and reads then.
    const inhabited = run(
      'sh "$1" mount "$2" "$3" && echo in >"$4" && until [ -e "$5" ]; do sleep 0.2; done; cat "$3/names/b"; sh "$1" umount "$3"',
      lab.path('in'),
      lab.path('go'),
    )
    await until(() => existsSync(lab.path('in')))
    const left = await run(
      'sh "$1" mount --rw "$2" "$4" --log "$5" && echo new >"$4/new"; sh "$1" list --json',
      tree,
      lab.path('log'),
    )
    const [mount] = JSON.parse(left.stdout) as { pid: number; supervisor: { pid: number }; holder: { pid: number } }[]
    if (mount === undefined) throw new Error(left.stderr)
    const processes = [mount.pid, mount.supervisor.pid, mount.holder.pid]
    t.match(readdirSync(lab.path('cache/v1/rw')), [/./], 'its changes are kept for now')
    const remain = () => processes.filter((pid) => existsSync(`/proc/${pid}`))
    await until(() => remain().length === 0, 60_000).catch(() => undefined)
    t.strictSame(remain(), [], 'and end by themselves')
    for (const pid of remain()) process.kill(pid)
    t.match(readFileSync(lab.path('log'), 'utf8'), /nobody is left in its namespace/)
    t.strictSame(readdirSync(lab.path('cache/v1/rw')), [], 'and are thrown away')
    writeFileSync(lab.path('go'), '')
    const stayed = await inhabited
    t.equal(stayed.stdout, 'b', stayed.stderr)
  },
)
