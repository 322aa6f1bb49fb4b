import { readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { isNetworkType, networkWarning } from '../../lib/commands/cache-place.ts'

void t.test('isNetworkType() knows what machines share, and nothing that one machine has alone', async (t) => {
  for (const type of ['nfs', 'nfs4', 'cifs', 'smb3', '9p', 'ceph', 'lustre', 'fuse.glusterfs', 'fuse.sshfs'])
    t.ok(isNetworkType(type), type)
  for (const type of ['ext4', 'xfs', 'btrfs', 'zfs', 'overlay', 'tmpfs', 'virtiofs', 'fuse', 'fuseblk', 'fuse.ntfs-3g'])
    t.notOk(isNetworkType(type), type)
  const kernel = readFileSync('/proc/filesystems', 'utf8').matchAll(/^(nodev)?\t(.+)$/gm)
  for (const [, , type = ''] of kernel)
    if (!['nfs', 'nfs4', 'cifs', '9p', 'ceph'].includes(type)) t.notOk(isNetworkType(type), type)
})

void t.test('networkWarning() is silent about folders of this machine, there or not', async (t) => {
  for (const path of [
    '/',
    '/proc',
    '/dev/shm',
    tmpdir(),
    join(t.testdir({ a: '' }), 'a/b'),
    t.testdir({}) + '/not/yet',
  ])
    t.equal(networkWarning(path), undefined, path)
})
