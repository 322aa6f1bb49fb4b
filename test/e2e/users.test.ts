// Alone: the namespace of a container has all mounts of the machine in it, those of other tests too.
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import type { MountUsers } from '../../lib/kernel/index.ts'
import { only } from '../only.ts'
import { type Lab, mountTest, PROJECT, until } from './mounted.ts'

const SAMPLE = join(PROJECT, 'fixtures/sample/debian.fl')
/** Not known to `Lab.killAll` by what it inherited. */
const STRANGER = { env: { FLISTFS_RUNTIME: '' } }

async function findmnt(lab: Lab, directory: string): Promise<string> {
  return (await lab.run('findmnt', ['--noheadings', '--output', 'FSTYPE', '--mountpoint', directory])).stdout.toString()
}

/** A program of the archive in a chroot, with a folder and an open file there. Its own streams are elsewhere. */
async function chrooted(lab: Lab, root: string): Promise<ChildProcess> {
  const script = 'cd /etc && exec 5</etc/debian_version && echo ready && while read -r _; do :; done'
  await lab.run('mkfifo', [lab.path('park')])
  const park = `exec chroot "$0" /usr/bin/bash -c '${script}' <>"$1"`
  const child = lab.start('sh', ['-c', park, root, lab.path('park')], STRANGER)
  if (child.stdout === null) throw new Error('no pipe')
  await once(child.stdout, 'data')
  return child
}

/** What stands on a mount: an overlay over it, a part of it elsewhere, something inside it, a program in it. */
async function standOn(
  lab: Lab,
  directory: string,
): Promise<{ program: ChildProcess; over: string; part: string; inside: string }> {
  const [over, part, inside] = [lab.folder('over, :it'), lab.folder('a part'), join(directory, 'root')]
  const layers = `lowerdir=${directory},upperdir=${lab.folder('upper')},workdir=${lab.folder('work')}`
  await lab.ok('mount', ['-t', 'overlay', 'over', '-o', layers, over])
  await lab.ok('mount', ['--bind', join(directory, 'usr/lib'), part])
  await lab.ok('mount', ['-t', 'tmpfs', 'inside', inside])
  return { program: await chrooted(lab, directory), over, part, inside }
}

async function listed(lab: Lab): Promise<{ state: string; users?: MountUsers }[]> {
  return JSON.parse((await lab.flistfs(['list', '--json'])).stdout.toString()) as {
    state: string
    users?: MountUsers
  }[]
}

mountTest('what stands on a mount that died with all its processes is named', {}, async (t, lab) => {
  const { directory } = await lab.mount(SAMPLE)
  const { program, over, part, inside } = await standOn(lab, directory)
  const walker = lab.start('sleep', ['1000'], { ...STRANGER, cwd: over })
  t.notOk('users' in (await listed(lab))[0]!, 'nobody looks for users of a mount that is served')
  await lab.killAll()

  const [dead] = await listed(lab)
  t.equal(dead?.state, 'dead')
  t.strictSame(
    dead?.users?.mounts.map(({ directory: at, how, type }) => `${at} ${how} ${type}`).toSorted(),
    [`${inside} inside tmpfs`, `${over} overlay overlay`, `${part} bind fuse.flistfs`].toSorted(),
  )
  const processes = new Map(dead?.users?.processes.map(({ pid, ...rest }) => [pid, rest]))
  t.strictSame(processes.get(walker.pid ?? 0), { command: 'sleep', uses: ['folder'] }, 'through the overlay')
  const bash = processes.get(program.pid ?? 0)
  t.equal(bash?.command, 'bash')
  t.strictSame(bash?.uses.slice(0, 4), ['root', 'folder', 'program', '1 open file'])
  t.match(bash?.uses[4], /^\d+ mapped files$/)
  t.equal(processes.size, 2)

  const text = (await lab.flistfs(['list'])).stdout.toString()
  for (const part of [
    `On "${directory}", which is dead:`,
    `overlay on "${over}"`,
    `tmpfs on "${inside}"`,
    `bash (${program.pid}: root, folder, `,
  ]) {
    t.ok(text.includes(part), part)
  }
  const busy = await lab.flistfs(['umount', directory])
  t.equal(busy.code, 1)
  t.match(busy.stderr, /it is dead, and in use by .*overlay on "[^"]+over, :it".*bash \(\d+: root[^]*--lazy/)
  t.match(await findmnt(lab, directory), 'fuse.flistfs', 'it is still there')

  const again = await lab.mount(SAMPLE, { directory })
  t.match(again.stderr, /is cleared; what stood on it gets errors until it ends: .*overlay on .*sleep \(\d+: folder\)/)
  t.match(await lab.ok('cat', [join(directory, 'etc/debian_version')]), /^12/, 'and the new one is whole')
  t.equal(program.exitCode ?? program.signalCode, null, 'nobody was ended for it')
  for (const child of [program, walker]) {
    child.kill('SIGKILL')
    await until(() => child.signalCode !== null)
  }
  for (const at of [over, part]) await lab.ok('umount', [at])
  await lab.umount({ directory })
})

mountTest('a mount in use names its users, with --lazy those it leaves', {}, async (t, lab) => {
  const { directory } = await lab.mount(SAMPLE)
  const { program, over, part, inside } = await standOn(lab, directory)
  const busy = await lab.flistfs(['umount', directory])
  t.equal(busy.code, 1)
  for (const words of [
    `tmpfs on "${inside}"`,
    `overlay on "${over}"`,
    `bind on "${part}"`,
    `bash (${program.pid}: root, folder, program, 1 open file)`,
  ]) {
    t.ok(busy.stderr.includes(words), words)
  }
  const lazy = await lab.flistfs(['umount', '--lazy', directory])
  t.equal(lazy.code, 0, lazy.stderr)
  t.match(lazy.stdout.toString(), new RegExp(`still served\\n  overlay on .*[^]*  bash \\(${program.pid}: root`))
  program.kill('SIGKILL')
  await until(() => program.signalCode !== null)
  for (const at of [over, part]) await lab.ok('umount', [at])
  await until(() => lab.servers().length === 0)
})

mountTest('mount clears the overlay of a dead writable mount, which answers for itself', {}, async (t, lab) => {
  const upper = lab.path('changes')
  const { directory } = await lab.mount(SAMPLE, { words: ['--upper', upper] })
  await lab.ok('touch', [join(directory, 'root/mine')])
  const user = lab.start('sleep', ['1000'], { ...STRANGER, cwd: join(directory, 'root') })
  await lab.killAll()
  t.match(only(await listed(lab)), {
    state: 'dead',
    users: { mounts: { length: 0 }, processes: [{ pid: user.pid, uses: ['folder'] }] },
  })
  const again = await lab.mount(SAMPLE, { directory, words: ['--upper', upper] })
  t.match(again.stderr, new RegExp(`sleep \\(${user.pid}: folder\\)`))
  t.equal(await findmnt(lab, directory), 'overlay\n', 'one mount, not one over a dead one')
  t.equal(await lab.ok('ls', [join(directory, 'root')]), 'mine\n')
  user.kill('SIGKILL')
  await until(() => user.signalCode !== null)
  await lab.umount({ directory })
  t.equal(await findmnt(lab, directory), '')
})

mountTest('a container that has a dead mount is seen by its processes', {}, async (t, lab) => {
  const { directory } = await lab.mount(SAMPLE)
  const script = `cd '${join(directory, 'etc')}' && echo ready && exec sleep 1000`
  const container = lab.start('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script], STRANGER)
  if (container.stdout === null) throw new Error('no pipe')
  await once(container.stdout, 'data')
  t.not(readlinkSync(`/proc/${container.pid}/ns/mnt`), readlinkSync('/proc/self/ns/mnt'))
  await until(() => readFileSync(`/proc/${container.pid}/comm`, 'latin1') === 'sleep\n')
  await lab.killAll()
  t.match(only(await listed(lab)), {
    state: 'dead',
    users: { mounts: { length: 0 }, processes: [{ pid: container.pid, command: 'sleep' }] },
  })
  // Here nobody is in its way.
  await lab.umount({ directory })
  container.kill('SIGKILL')
  await until(() => container.signalCode !== null)
})
