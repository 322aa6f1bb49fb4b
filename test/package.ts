import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import t from 'tap'

/*
 * `npm run test:package [FOLDER]`: makes the packages (or takes those of a folder) and uses them in a fresh Debian that has
 * neither Node nor npm. Minutes long, and it needs root, mmdebstrap and a Debian mirror; no part of `npm test`.
 */
const ROOT = resolve(import.meta.dirname, '..')
const given = process.argv[2]
const missing = ['mmdebstrap', 'dpkg-deb', 'unshare', 'chroot'].filter(
  (name) => !(process.env['PATH'] ?? '').split(':').some((dir) => existsSync(join(dir, name))),
)
const skip =
  process.getuid?.() !== 0 || !existsSync('/dev/fuse')
    ? 'needs root and /dev/fuse'
    : missing.length > 0 && `needs ${missing.join(', ')}`
/** Milliseconds. */
const STEP_MS = 600_000

t.setTimeout(1_800_000)

function run(command: string, ...words: readonly string[]): string {
  return execFileSync(command, words, {
    encoding: 'utf8',
    timeout: STEP_MS,
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

const work = mkdtempSync(join(tmpdir(), 'flistfs-package-test-'))
const packages = given === undefined ? join(work, 'packages') : resolve(given)
t.teardown(() => rmSync(work, { recursive: true, force: true }))

/** What is done inside, with a tree of mounts, /proc and processes of its own: whatever happens, nothing stays. */
function inside(root: string, script: string): string {
  const prepare = `
    set -e
    mount --bind "$0" "$0"; cd "$0"
    mount -t proc proc proc; mount -t tmpfs none run; mount --rbind /dev dev
    exec chroot . /usr/bin/env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root sh -exc "$1"`
  return run(
    'unshare',
    '--mount',
    '--pid',
    '--fork',
    '--kill-child',
    '--propagation',
    'private',
    'sh',
    '-c',
    prepare,
    root,
    script,
  )
}

t.test('the packages', { skip }, async (t) => {
  if (given === undefined) run('sh', 'bin/node', 'scripts/package.ts', packages)
  const find = (pattern: RegExp): string =>
    join(packages, readdirSync(packages).find((name) => pattern.test(name)) ?? '')
  const [deb, tar] = [find(/\.deb$/), find(/\.tar\.gz$/)]
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  const root = join(work, 'root')
  run('mmdebstrap', '--quiet', '--variant=minbase', '--include=libstdc++6,mount', 'bookworm', root)
  t.notOk(existsSync(join(root, 'usr/bin/node')), 'there is no Node there')
  const sample = join(root, 'srv/sample')
  mkdirSync(join(root, 'srv/at'), { recursive: true })
  cpSync(join(ROOT, 'fixtures/sample'), sample, { recursive: true })
  copyFileSync(deb, join(root, 'srv/flistfs.deb'))
  copyFileSync(tar, join(root, 'srv/flistfs.tar.gz'))

  const names = run('dpkg-deb', '--contents', deb)
  for (const name of ['usr/bin/flistfs', 'usr/sbin/mount.flistfs', 'usr/lib/systemd/system/flistfs@.service']) {
    t.match(names, `./${name}`, name)
  }
  t.match(names, '/usr/share/man/man1/flistfs.1.gz')
  t.notMatch(names, /\.ts\b|\/npm\b/, 'no source, no npm')
  t.match(names, /^drwxr-xr-x root\/root /)

  const used = `
    flistfs --version
    mount -t flistfs /srv/sample/debian.fl /srv/at
    cat /srv/at/etc/debian_version
    flistfs list
    umount /srv/at`
  const installed = inside(root, `dpkg -i /srv/flistfs.deb >/dev/null && ${used.trim()}\ndpkg -r flistfs >/dev/null`)
  t.match(installed, new RegExp(`^${version.replaceAll('.', '\\.')}\n12\\.\\d+\n[^]*/srv/at .*mounted`))
  t.notOk(existsSync(join(root, 'usr/lib/flistfs')), 'dpkg -r takes all of it away')

  const unpacked = inside(
    root,
    `mkdir /opt/flistfs && tar -xzf /srv/flistfs.tar.gz -C /opt/flistfs --strip-components=1
    /opt/flistfs/bin/flistfs setup >/dev/null && ln -s /opt/flistfs/bin/flistfs /usr/local/bin/flistfs
    ${used.trim()}
    flistfs setup --remove`,
  )
  t.match(unpacked, new RegExp(`^${version.replaceAll('.', '\\.')}\n12\\.\\d+\n[^]*removed /sbin/mount\\.flistfs`))
})

t.test(
  'the same commit gives the same packages',
  { skip: skip || (given === undefined ? false : 'needs its own') },
  async (t) => {
    const again = join(work, 'again')
    run('sh', 'bin/node', 'scripts/package.ts', again)
    for (const name of readdirSync(packages)) {
      const [one, two] = [packages, again].map((dir) =>
        createHash('sha256')
          .update(readFileSync(join(dir, name)))
          .digest('hex'),
      )
      t.equal(one, two, name)
    }
  },
)
