import { execFileSync } from 'node:child_process'
import { chmodSync, globSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type Done, FLISTFS, lacks } from '../mounted.ts'
import { SAMPLE } from './archives.ts'
import { type ErrorCase, flistfs, fresh, type Place } from './error-case.ts'

function folder(place: Place, name: string): string {
  const path = fresh(place, name)
  mkdirSync(path)
  return path
}

function mount(place: Place, ...words: readonly string[]): Promise<Done> {
  return flistfs(place, ['mount', SAMPLE, folder(place, 'mnt'), ...words])
}

/** A file system of its own, with these options. */
function disk(place: Place, ...options: readonly string[]): string {
  const path = folder(place, 'disk')
  execFileSync('mount', ['-t', 'tmpfs', '-o', options.join(','), 'flistfs-test', path], { timeout: 120_000 })
  place.t.teardown(() => execFileSync('umount', ['--lazy', path], { timeout: 120_000 }))
  return path
}

/** Root without the right to mount, as in a container. */
function withoutRight(place: Place, words: readonly string[]): Promise<Done> {
  const drop = ['--bounding-set', '-sys_admin', '--inh-caps', '-sys_admin', 'sh', FLISTFS]
  return place.lab.run('setpriv', [...drop, ...words, '--json'])
}

function damageIndexes(cache: string): string {
  const [path = ''] = globSync(join(cache, 'v1/index/*/*.idx'))
  const bytes = readFileSync(path)
  for (let at = bytes.length >> 1; at < bytes.length; at += 1) bytes[at] = (bytes[at] ?? 0) ^ 0xff
  chmodSync(path, 0o600)
  writeFileSync(path, bytes)
  return path
}

export const PLACE_CASES: readonly ErrorCase[] = [
  {
    code: 'FLIST_CACHE_UNUSABLE',
    when: 'the cache is a file',
    provoke: (place) => mount(place, '--cache', SAMPLE),
    says: /debian\.fl.*no folder/,
    hint: /--cache/,
  },
  {
    code: 'FLIST_CACHE_UNUSABLE',
    when: 'the cache lies on a read-only disk',
    provoke: (place) => mount(place, '--cache', join(disk(place, 'ro'), 'cache')),
    says: /cache ".*read-only/,
    hint: /--cache/,
  },
  {
    code: 'FLIST_CACHE_UNUSABLE',
    when: 'the disk of the cache is full',
    provoke: (place) => {
      const path = disk(place, 'size=64k')
      writeFileSync(join(path, 'filler'), Buffer.alloc(64 * 1024))
      return mount(place, '--cache', path)
    },
    says: /disk.*full/,
    hint: /--cache/,
  },
  {
    code: 'FLIST_CACHE_UNUSABLE',
    when: 'the cache was made by a newer flistfs',
    provoke: async (place) => {
      const cache = folder(place, 'cache')
      await flistfs(place, ['cat', SAMPLE, 'etc/debian_version', '--cache', cache])
      const database = new DatabaseSync(join(cache, 'v1/cache.db'))
      database.exec('PRAGMA user_version = 99')
      database.close()
      return flistfs(place, ['cache', 'list', '--cache', cache])
    },
    says: /cache".*99/,
    hint: /--cache/,
  },
  {
    code: 'FLIST_INDEX_DAMAGED',
    when: 'an index was damaged, and only its digest is known',
    provoke: async (place) => {
      const cache = folder(place, 'cache')
      const { stdout } = await flistfs(place, ['inspect', SAMPLE, '--cache', cache])
      const { digest } = JSON.parse(stdout.toString()) as { digest: string }
      damageIndexes(cache)
      return flistfs(place, ['cache', 'pin', digest, '--cache', cache])
    },
    says: /index ".*cache.*does not match/,
    hint: /Remove it/,
  },
  {
    code: 'FLIST_MOUNT_FAILED',
    when: 'the folder is not there',
    provoke: (place) => flistfs(place, ['mount', SAMPLE, '/srv/absent']),
    says: /"\/srv\/absent": no such folder/,
    hint: /mkdir -p \/srv\/absent/,
  },
  {
    code: 'FLIST_MOUNT_FAILED',
    when: 'the folder is a file',
    provoke: (place) => flistfs(place, ['mount', SAMPLE, SAMPLE]),
    says: /debian\.fl": it is not a folder/,
    hint: /Name a folder/,
  },
  {
    code: 'FLIST_STORE_UNREACHABLE',
    when: 'the store would lie below /proc',
    provoke: (place) => {
      const source = folder(place, 'source')
      writeFileSync(join(source, 'a'), 'a')
      return flistfs(place, ['pack', source, fresh(place, 'a.fl'), '--store', 'dir:///proc/flistfs'])
    },
    says: /"dir:\/\/\/proc\/flistfs": no such file or folder \(ENOENT\)/,
    hint: /Look at the folder/,
  },
  {
    code: 'FLIST_SYSTEM',
    when: 'the image would lie below /proc',
    provoke: (place) => flistfs(place, ['export', SAMPLE, 'oci:/proc/flistfs']),
    says: /"oci:\/proc\/flistfs": no such file or folder \(ENOENT\)/,
    hint: /room on its disk/,
  },
  {
    code: 'FLIST_NOT_PERMITTED',
    when: 'the records of mounts would lie below /proc',
    provoke: (place) => flistfs(place, ['mount', SAMPLE, folder(place, 'mnt')], { FLISTFS_RUNTIME: '/proc/flistfs' }),
    says: /"\/proc\/flistfs" for records of mounts: no such file or folder \(ENOENT\)/,
    hint: /FLISTFS_RUNTIME/,
  },
  {
    code: 'FLIST_MOUNT_FAILED',
    when: 'changes are to be kept in a file',
    provoke: (place) => flistfs(place, ['mount', SAMPLE, folder(place, 'mnt'), '--upper', SAMPLE]),
    says: /keep changes in ".*debian\.fl": a part of the path is no folder/,
    hint: /--upper/,
  },
  ...(['cache', 'log', 'trace', 'store'] as const).map((what) => ({
    code: 'FLIST_USAGE',
    when: `the mount would hide its own ${what}`,
    provoke: (place: Place) => {
      const on = folder(place, 'on')
      const below = join(on, 'below')
      return flistfs(place, ['mount', SAMPLE, on, `--${what}`, what === 'store' ? `00-ff=dir://${below}` : below])
    },
    says: new RegExp(`on".*the ${what}.*on/below" would be hidden`),
    hint: /mount on another folder/,
  })),
  {
    code: 'FLIST_MOUNT_FAILED',
    when: 'a mount is in use',
    provoke: async (place) => {
      const { directory } = await place.lab.mount(SAMPLE)
      const reader = place.lab.start('sleep', ['3600'], { cwd: directory })
      place.t.teardown(() => reader.kill('SIGKILL'))
      return flistfs(place, ['umount', directory])
    },
    says: /mnt-\d+".*(in use|busy)/i,
    hint: /--lazy/,
  },
  {
    code: 'FLIST_NOT_MOUNTED',
    when: 'a plain folder is to be unmounted',
    provoke: (place) => flistfs(place, ['umount', folder(place, 'plain')]),
    says: /plain": nothing is mounted/,
    hint: /flistfs list/,
  },
  {
    code: 'FLIST_NOT_MOUNTED',
    when: "another program's mount is to be unmounted",
    provoke: (place) => flistfs(place, ['umount', '/proc']),
    says: /"\/proc": the proc mounted there is not ours/,
    hint: /flistfs list/,
  },
  ...[
    ['stats', '/srv'],
    ['why', '/proc/version'],
    ['log-level', '/srv', 'debug'],
    ['upgrade', '/srv'],
    ['trace', '/srv', '/tmp/trace'],
  ].map((words) => ({
    code: 'FLIST_NOT_MOUNTED',
    when: `${words[0]} is asked of what is no mount`,
    provoke: (place: Place) => flistfs(place, words),
    says: new RegExp(`"${words[1]}"`),
    hint: /flistfs list/,
  })),
  {
    code: 'FLIST_NOT_PERMITTED',
    when: 'the right to mount is missing, as in a container',
    skip: lacks('setpriv'),
    provoke: (place) => withoutRight(place, ['mount', SAMPLE, folder(place, 'mnt')]),
    says: /mnt"/,
    hint: /SYS_ADMIN/,
  },
  {
    code: 'FLIST_NOT_PERMITTED',
    when: 'others may write where records of mounts lie',
    provoke: (place) => {
      const runtime = folder(place, 'records')
      chmodSync(runtime, 0o777)
      return flistfs(place, ['list'], { FLISTFS_RUNTIME: runtime })
    },
    says: /records".*others may write there/,
    hint: /chmod|FLISTFS_RUNTIME/,
  },
  {
    code: 'FLIST_SYSTEM',
    when: 'the log cannot be written',
    provoke: (place) => mount(place, '--log', '/srv/absent/log'),
    says: /"\/srv\/absent\/log"/,
    hint: /folder/,
  },
  {
    code: 'FLIST_SYSTEM',
    when: 'the trace cannot be written',
    provoke: (place) => mount(place, '--trace', '/srv/absent/trace'),
    says: /"\/srv\/absent\/trace"/,
    hint: /folder/,
  },
  {
    code: 'FLIST_NOT_TRUSTED',
    when: 'a policy wants signatures, and the archive has none',
    provoke: (place) => {
      const policy = fresh(place, 'policy.toml')
      writeFileSync(policy, '[allow]\nkeys = []\nunsigned = false\n')
      return mount(place, '--policy', policy)
    },
    says: /debian\.fl".*policy\.toml"/,
    hint: /who keeps the policy.*sha256:/,
  },
  {
    code: 'FLIST_SYSTEM',
    when: 'setup meets a read-only disk',
    provoke: (place) => flistfs(place, ['setup', '--prefix', disk(place, 'ro')]),
    says: /disk.*read-only/,
    hint: /--prefix|writable/,
  },
]
