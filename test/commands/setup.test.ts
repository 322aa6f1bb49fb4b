import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { PLACES, setup, setupFiles, type SetupStep } from '../../lib/commands/setup.ts'
import { standingOf } from '../../lib/commands/setup-files.ts'
import { unitText } from '../../lib/commands/unit.ts'

/** A program with a completion for bash and zsh alone, and two man pages. */
function begin(t: Test) {
  const dir = t.testdir({
    package: {
      bin: {
        flistfs: '#!/bin/sh\n# Starts flistfs under the Node.js that bin/node finds.\n',
        'mount.flistfs': '',
        g8ufs: '',
        rfs: '',
      },
      dist: {
        // Stands for the program, and starts in no time.
        'flistfs.js': `
          [ "$2" = fish ] && exit 2
          [ "$2" = zsh ] && echo '#compdef flistfs' || echo "# for $2"
        `,
        man: { 'flistfs.1': '.TH FLISTFS 1\n', 'flistfs.toml.5': '.TH FLISTFS.TOML 5\n' },
      },
    },
    root: {},
  })
  const prefix = join(dir, 'root')
  const self = ['/bin/sh', join(dir, 'package/dist/flistfs.js')]
  const run = (words: { zeroOs?: boolean; remove?: boolean } = {}): SetupStep[] =>
    setup({ prefix, zeroOs: words.zeroOs ?? false, remove: words.remove ?? false }, self)
  return { dir, prefix, run, bin: join(dir, 'package/bin') }
}

const by = (steps: readonly SetupStep[], done: string): string[] =>
  steps.filter((step) => step.done === done).map(({ path }) => path.replace(/.*\/root\//, ''))

/** Files and links below a folder. */
const below = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => !lstatSync(join(dir, name)).isDirectory())
    .toSorted()

t.test('what setup() puts is for all users', async (t) => {
  const { prefix, run } = begin(t)
  const umask = process.umask(0o077)
  t.teardown(() => process.umask(umask))
  for (const { path, done } of run()) {
    if (done !== 'made' || lstatSync(path).isSymbolicLink()) continue
    t.equal(lstatSync(path).mode & 0o777, 0o644, path)
    t.equal(lstatSync(dirname(path)).mode & 0o777, 0o755)
  }
  t.equal(lstatSync(join(prefix, 'usr')).mode & 0o777, 0o755)
})

t.test('setup() puts everything, once, and takes exactly that away', async (t) => {
  const { prefix, run, bin } = begin(t)
  mkdirSync(join(prefix, 'sbin'))
  writeFileSync(join(prefix, 'sbin/other'), 'other')
  const first = run()
  const made = [
    'sbin/mount.flistfs',
    'sbin/mount.fuse.flistfs',
    'usr/local/lib/systemd/system/flistfs@.service',
    'usr/local/share/bash-completion/completions/flistfs',
    'usr/local/share/man/man1/flistfs.1',
    'usr/local/share/man/man5/flistfs.toml.5',
    'usr/local/share/zsh/site-functions/_flistfs',
  ]
  t.strictSame(by(first, 'made').toSorted(), made)
  t.match(first.at(-1), { done: 'skipped', why: /no completion for fish/ })
  for (const name of ['mount.flistfs', 'mount.fuse.flistfs']) {
    t.equal(readlinkSync(join(prefix, 'sbin', name)), join(bin, 'mount.flistfs'))
  }
  const zsh = readFileSync(join(prefix, 'usr/local/share/zsh/site-functions/_flistfs'), 'utf8')
  t.match(zsh, /^#compdef flistfs\n/, 'what must stand first stands first')
  t.match(readFileSync(join(prefix, 'usr/local/share/man/man1/flistfs.1'), 'utf8'), /^\.TH [^]*\n\.\\" Made by/)
  t.strictSame(below(prefix), ['sbin/other', ...made].toSorted(), 'no temporary file is left')

  t.strictSame(by(run(), 'kept').toSorted(), made)
  t.strictSame(by(run({ zeroOs: true }), 'made'), ['sbin/g8ufs', 'sbin/rfs'])
  t.strictSame(by(run({ remove: true }), 'removed').toSorted(), [...made, 'sbin/g8ufs', 'sbin/rfs'].toSorted())
  t.strictSame(below(prefix), ['sbin/other'])
  t.strictSame(run({ remove: true }), [], 'there is nothing more to remove')
})

t.test('setup() replaces what another version of ours has put', async (t) => {
  const { dir, prefix, run } = begin(t)
  run()
  writeFileSync(join(dir, 'package/dist/man/flistfs.1'), '.TH FLISTFS 1 newer\n')
  rmSync(join(prefix, 'sbin/mount.flistfs'))
  symlinkSync('/opt/flistfs-0.0.1/bin/mount.flistfs', join(prefix, 'sbin/mount.flistfs'))
  t.strictSame(by(run(), 'replaced'), ['sbin/mount.flistfs', 'usr/local/share/man/man1/flistfs.1'])
  // A page that only an older version had goes too.
  writeFileSync(join(dir, 'package/dist/man/flistfs-old.1'), '.TH\n')
  run()
  rmSync(join(dir, 'package/dist/man/flistfs-old.1'))
  t.ok(by(run({ remove: true }), 'removed').includes('usr/local/share/man/man1/flistfs-old.1'))
})

t.test("setup() never touches another program's file, and then does nothing at all", async (t) => {
  for (const put of [
    (path: string) => writeFileSync(path, '#!/bin/sh\n'),
    (path: string) => symlinkSync('/usr/bin/rfs', path),
    (path: string) => symlinkSync('/opt/tools/bin/other', path),
    (path: string) => mkdirSync(path),
  ]) {
    const { prefix, run } = begin(t)
    mkdirSync(join(prefix, 'sbin'))
    put(join(prefix, 'sbin/rfs'))
    t.throws(() => run({ zeroOs: true }), {
      message: /Cannot put our own file at ".*sbin\/rfs": it belongs to another program/,
      hint: /^Nothing was changed\. Move it away .* mv .*\/rfs .*\/rfs\.old$/,
    })
    t.strictSame(readdirSync(prefix), ['sbin'])
    t.strictSame(readdirSync(join(prefix, 'sbin')), ['rfs'])
    t.equal(by(run(), 'made').length, 7, 'without --zero-os it is not in the way')
    t.match(run({ remove: true }), [
      { done: 'removed' },
      { done: 'removed' },
      { path: /rfs$/, done: 'left', why: /another program/ },
    ])
    t.ok(lstatSync(join(prefix, 'sbin/rfs')))
  }
})

t.test('setup() leaves a file that was changed since', async (t) => {
  const { prefix, run } = begin(t)
  run()
  const unit = join(prefix, 'usr/local/lib/systemd/system/flistfs@.service')
  for (const change of [
    () => appendFileSync(unit, '# mine\n'),
    () =>
      writeFileSync(
        unit,
        readFileSync(unit, 'utf8').replace('Restart=on-failure', 'Restart=no').replace('# mine\n', ''),
      ),
  ]) {
    change()
    t.throws(() => run(), { message: /flistfs@\.service": it was changed since flistfs made it/ })
  }
  t.match(
    run({ remove: true }).find(({ path }) => path === unit),
    { done: 'left', why: /changed/ },
  )
  t.ok(existsSync(unit))
})

for (const [shell, words] of [
  ['zsh', ['-f', '-c', 'print -l $fpath']],
  ['fish', ['-c', String.raw`string join \n $fish_complete_path`]],
] as const) {
  const skip = spawnSync(shell, ['-c', 'true'], { timeout: 120_000 }).status !== 0 && `needs ${shell}`
  void t.test(`setup() puts the completion of ${shell} where a real one looks`, { skip }, async (t) => {
    const program = { bin: '/x', launcher: '/x/flistfs', manDir: '/x/man', packaged: false, completion: () => 'x' }
    const { files } = setupFiles({ root: '', ...PLACES }, program, false)
    const env = { PATH: process.env['PATH'] ?? '', HOME: t.testdir() }
    const looked = spawnSync(shell, words, { env, encoding: 'utf8', timeout: 120_000 }).stdout.split('\n')
    const places = files.map(({ path }) => dirname(path)).filter((path) => path.includes(`/${shell}/`))
    t.equal(places.length, 1)
    t.ok(looked.includes(places[0] ?? ''), `${places[0]} is one of ${looked.join(', ')}`)
  })
}

t.test('setup() leaves to a package what it has put', async (t) => {
  const { dir, run } = begin(t)
  writeFileSync(join(dir, 'package/PACKAGED'), 'Debian\n')
  t.match(run(), [{ done: 'skipped', why: /package/ }])
  t.strictSame(by(run({ zeroOs: true }), 'made'), ['sbin/g8ufs', 'sbin/rfs'])
  t.strictSame(by(run({ remove: true }), 'removed'), ['sbin/g8ufs', 'sbin/rfs'])
})

t.test('standingOf() knows a link of ours by what lies beside its target', async (t) => {
  const { dir, bin } = begin(t)
  const path = join(dir, 'link')
  symlinkSync(join(bin, 'g8ufs'), path)
  t.equal(standingOf({ path, link: '/elsewhere/bin/g8ufs' }), 'ours')
  t.equal(standingOf({ path, link: join(bin, 'g8ufs') }), 'same')
  t.equal(standingOf({ path, link: '/elsewhere/bin/rfs' }), 'foreign')
  t.equal(standingOf({ path: join(dir, 'none'), link: '/x' }), 'none')
  t.equal(standingOf({ path, text: 'x', comment: '#' }), 'foreign', 'a link is no text of ours')
})

t.test('unitText() writes the path of the program as one word', async (t) => {
  t.match(unitText('/usr/bin/flistfs'), '\nExecStart=/usr/bin/flistfs mount --foreground $OPTIONS -- ${ARCHIVE} %f\n')
  t.match(unitText('/opt/a b%c$d/flistfs'), '\nExecStart="/opt/a b%%c$$d/flistfs" mount ')
})
