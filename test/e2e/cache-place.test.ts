import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Lab, lacks, mountTest, PROJECT } from './mounted.ts'

const ARCHIVE = join(PROJECT, 'fixtures/sample/debian.fl')
/** Debian's place, and that of most others. */
const SERVER = ['/usr/lib/openssh/sftp-server', '/usr/libexec/openssh/sftp-server'].find((path) => existsSync(path))

/** A folder that is mounted by SFTP, as from another machine: the server is real, but no ssh is between. */
async function mountSftp(lab: Lab): Promise<string> {
  const [directory, served, connect] = [lab.folder('sftp'), lab.folder('served'), lab.path('connect')]
  writeFileSync(connect, `#!/bin/sh\nexec ${SERVER}\n`, { mode: 0o755 })
  await lab.ok('sshfs', [`other:${served}`, directory, '-o', `ssh_command=${connect}`])
  return directory
}

const skip = lacks('sshfs', 'fusermount3') || (SERVER === undefined && 'needs openssh-sftp-server')

mountTest('a cache on a network file system is warned of, once, by mount and by cache', { skip }, async (t, lab) => {
  const directory = await mountSftp(lab)
  const folder = `${directory}/not/yet`
  const said = ' lies on a network file system (fuse.sshfs)'
  const mounted = await lab.mount(ARCHIVE, { cache: folder })
  t.equal(mounted.stderr.split(said).length, 2, mounted.stderr)
  t.match(JSON.parse(mounted.stderr), {
    warning: { message: new RegExp(`^The cache "${folder}" lies on .* a local folder of its own with --cache`) },
  })
  for (const words of [['list'], ['verify'], ['prune'], ['pin', ARCHIVE], ['unpin', ARCHIVE]]) {
    const done = await lab.flistfs(['cache', ...words, '--cache', folder])
    t.equal(done.stderr.split(said).length, 2, `cache ${words.join(' ')}: ${done.stderr}`)
  }
  await lab.umount(mounted)
  await lab.ok('fusermount3', ['-u', directory])
  const local = await lab.mount(ARCHIVE)
  t.notMatch(local.stderr, 'network file system')
  t.equal((await lab.flistfs(['cache', 'list'])).stderr, '')
  await lab.umount(local)
})
