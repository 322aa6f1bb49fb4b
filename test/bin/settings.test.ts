import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { Output } from '../../bin/output.ts'
import { buildProgram } from '../../bin/program.ts'
import { applySettings, isSettable, settingsPlaces, variableOf } from '../../bin/settings.ts'

const LAUNCHER = resolve(import.meta.dirname, '../../bin/flistfs')

/** The options of `mount` as they stand when the verb runs, and what was read. The system's own files are not looked at. */
async function settled(t: Test, words: readonly string[], files: { user?: string; named?: string }, env = {}) {
  const dir = t.testdir({ user: { flistfs: {} } })
  if (files.user !== undefined) writeFileSync(join(dir, 'user/flistfs/config.toml'), files.user)
  if (files.named !== undefined) writeFileSync(join(dir, 'named.toml'), files.named)
  const own: Record<string, string> = {
    XDG_CONFIG_HOME: join(dir, 'user'),
    ...(files.named === undefined ? {} : { FLISTFS_CONFIG: join(dir, 'named.toml') }),
    ...env,
  }
  const before = { ...process.env }
  Object.assign(process.env, own)
  try {
    const program = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
    const mount = program.commands.find((command) => command.name() === 'mount')
    mount?.exitOverride().action(() => undefined)
    await program.parseAsync(['mount', 'a.fl', 'dir', ...words], { from: 'user' })
    const options = mount?.opts() ?? {}
    return { options, sourceOf: (name: string) => mount?.getOptionValueSource(name) }
  } finally {
    for (const name of Object.keys(own)) delete process.env[name]
    Object.assign(process.env, before)
  }
}

t.test(
  'words go before variables, variables before files, a verb before defaults, the named file before the user’s',
  async (t) => {
    const user = '[defaults]\ntimeout = 1\nhub = "http://user"\n[mount]\ncache-size = "1G"\nverify = "always"\n'
    const named = '[defaults]\ntimeout = 2\n[mount]\ntimeout = 3\n'
    const one = await settled(t, [], { user, named })
    t.match(one.options, { timeout: '3', hub: 'http://user', cacheSize: '1G', verify: 'always' })
    t.equal(one.sourceOf('timeout'), 'config')
    t.match((await settled(t, [], { user, named }, { FLISTFS_TIMEOUT: '4' })).options, { timeout: '4' })
    const words = await settled(t, ['--timeout', '5', '--verify', 'once'], { user, named }, { FLISTFS_TIMEOUT: '4' })
    t.match(words.options, { timeout: '5', verify: 'once' })
    t.equal(words.sourceOf('timeout'), 'cli')
    t.match((await settled(t, ['-o', 'timeout=6'], { user, named }, { FLISTFS_TIMEOUT: '4' })).options, {
      timeout: '6',
    })
  },
)

t.test('what -o says is not to be is not, whatever is set', async (t) => {
  const user = '[mount]\nsuid = true\nrw = true\nnoexec = true\nnosymfollow = true\nupper = "/changes"\n'
  const env = { FLISTFS_DEV: '1' }
  const set = { suid: true, dev: true, rw: true, noexec: true, nosymfollow: true, upper: '/changes' }
  t.match((await settled(t, ['-o', 'nofail'], { user }, env)).options, set)
  // As mount(8) says it for `users` in fstab.
  const { options } = await settled(t, ['-o', 'ro,nosuid,nodev,exec,symfollow,users'], { user }, env)
  t.match(options, { suid: false, dev: false, rw: false, noexec: false, nosymfollow: false, upper: undefined })
  t.match((await settled(t, ['-o', 'nosuid', '-o', 'setuid'], {})).options, { suid: true }, 'the last word counts')
  t.match((await settled(t, ['--suid', '-o', 'nosuid'], {})).options, { suid: false })
  for (const words of [
    ['-o', 'ro,upper=/x'],
    ['--upper', '/x', '-o', 'ro'],
  ]) {
    await t.rejects(settled(t, words, {}), { code: 'FLIST_USAGE', message: /"ro"/ }, words.join(' '))
  }
})

t.test('settingsPlaces() heeds whole paths alone in XDG_CONFIG_HOME', async (t) => {
  t.strictSame(settingsPlaces({ XDG_CONFIG_HOME: 'here', HOME: '/home/me' }), [
    '/etc/flistfs/config.toml',
    '/home/me/.config/flistfs/config.toml',
  ])
})

t.test('every kind of option may be set', async (t) => {
  const user = '[mount]\nstore = ["dir:/a", "00-7f=dir:/b"]\nsuid = true\ndev = false\ntimeout = 30\n'
  t.match((await settled(t, [], { user })).options, {
    store: ['dir:/a', '00-7f=dir:/b'],
    suid: true,
    dev: false,
    timeout: '30',
  })
  t.match((await settled(t, ['--store', 'dir:/c'], { user })).options, { store: ['dir:/c'] })
  t.match((await settled(t, ['-o', 'store=dir:/d'], { user })).options, { store: ['dir:/d'] })
  const env = {
    FLISTFS_STORE: ' dir:/e  dir:/f ',
    FLISTFS_SUID: '0',
    FLISTFS_DEV: 'yes',
    FLISTFS_ALLOW_OTHER: 'on',
    FLISTFS_HUB: '',
  }
  const { options } = await settled(t, [], { user }, env)
  t.match(options, { store: ['dir:/e', 'dir:/f'], suid: false, dev: true, allowOther: true })
  t.notOk('hub' in options, 'an empty variable is none')
})

t.test('a setting that is none is refused with its file and line', async (t) => {
  const cases: [string, RegExp][] = [
    ['[mount]\n\ntimoeut = 3\n', /line 3: "timoeut" is no option of "mount"/],
    ['[defaults]\nsuid = true\nbogus = 1\n', /line 3: "bogus" is no option that may be set/],
    ['# x\n[moutn]\n', /line 2: there are no settings of "moutn"/],
    ['timeout = 3\n', /line 1: "timeout" stands in no section/],
    ['[mount]\ntimeout = \n', /line 2: /],
    ['[mount]\nsuid = "yes"\n', /line 2: "suid" wants true or false/],
    ['[mount]\ntimeout = true\n', /line 2: "timeout" wants a text or a number/],
    ['[mount]\ntimeout = ["1", "2"]\n', /line 2: "timeout": one value is wanted/],
    ['[mount]\n\ncache = ""\n', /line 3: "cache": it is empty/],
    ['[mount]\nverify = "never"\n', /line 2: "verify": "never" is none of once, always/],
    ['[mount]\nforeground = true\n', /line 2: "foreground" is no option/],
    ['[umount]\nforce = true\n', /line 2: there are no settings of "umount"/],
    ['[mount]\n\nmetrics = "localhost"\n', /line 3: "metrics": "localhost" is no address for metrics$/],
    ['[ls]\ndigest = "md5:0"\n', /line 2: "digest": "md5:0" is not a digest$/],
    ['[pack]\njobs = 0\n', /line 2: "jobs": "0": a number from 1 to 64 is wanted$/],
    ['[mount]\nstore = ["dir:/a", 1979-05-27]\n', /line 2: "store" wants a text or a number$/],
    ['[mount.deeper]\nx = 1\n', /line 1: "deeper" is no option/],
  ]
  for (const [user, message] of cases) {
    await t.rejects(settled(t, [], { user }), { code: 'FLIST_USAGE', message }, user)
  }
  await t.rejects(settled(t, [], {}, { FLISTFS_SUID: 'perhaps' }), { message: /"FLISTFS_SUID": "perhaps"/ })
  await t.rejects(settled(t, [], {}, { FLISTFS_VERIFY: 'never' }), { message: /"FLISTFS_VERIFY": "never" is none of/ })
  const wrong = { FLISTFS_METRICS: '"FLISTFS_METRICS": "x" is no address', FLISTFS_DIGEST: '"x" is not a digest' }
  for (const [name, message] of Object.entries({ ...wrong, FLISTFS_HUB: 'address', FLISTFS_STORE: 'no scheme' })) {
    await t.rejects(settled(t, [], {}, { [name]: 'x' }), { code: 'FLIST_USAGE', message: new RegExp(message) }, name)
  }
  await t.rejects(settled(t, [], {}, { FLISTFS_CONFIG: '/nowhere/config.toml' }), { message: /no such file/ })
  t.match((await settled(t, [], { user: '[moutn]\n' }, { FLISTFS_CONFIG: '' })).options, { verify: 'once' }, 'no files')
})

t.test('FLISTFS_CONFIG may be the null device, and no pipe, folder or other device', async (t) => {
  const dir = t.testdir({ run: {} })
  execFileSync('mkfifo', [join(dir, 'pipe')], { timeout: 60_000 })
  await t.test('/dev/null', async (t) => {
    t.match((await settled(t, [], {}, { FLISTFS_CONFIG: '/dev/null' })).options, { verify: 'once' })
  })
  const refused = async (FLISTFS_CONFIG: string, message: RegExp): Promise<void> => {
    const thrown = { code: 'FLIST_USAGE', message, hint: /FLISTFS_CONFIG/ }
    await t.test(FLISTFS_CONFIG, (t) => t.rejects(settled(t, [], {}, { FLISTFS_CONFIG }), thrown))
  }
  await refused(join(dir, 'pipe'), /pipe": it is a pipe, no file$/)
  await refused('/dev/zero', /: it is no file$/)
  await refused(dir, /: it is no file$/)
  // As `FLISTFS_CONFIG=<(...)` has it.
  const env = { ...process.env, FLISTFS_RUNTIME: join(dir, 'run'), NODE_OPTIONS: '' }
  const words = ['-c', 'FLISTFS_CONFIG=<(echo "[mount]") exec "$0" config', LAUNCHER]
  t.match(spawnSync('bash', words, { env, encoding: 'utf8', timeout: 60_000 }), { status: 2, stderr: /it is a pipe/ })
})

t.test('every option of mount has a variable, documented', async (t) => {
  const { readFileSync } = await import('node:fs')
  const text = readFileSync(resolve(import.meta.dirname, '../../docs/cli.md'), 'utf8')
  const program = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
  const mount = program.commands.find((command) => command.name() === 'mount')
  const settable = (mount?.options ?? []).filter(isSettable)
  t.ok(settable.length > 15)
  for (const option of settable) t.match(text, `\`${variableOf(option)}\``, `docs/cli.md lacks ${variableOf(option)}`)
})

t.test('a switch that takes something back is one', async (t) => {
  const program = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
  const pack = program.commands.find((command) => command.name() === 'pack')
  const file = join(t.testdir({ 'config.toml': '[pack]\nno-sync = true\n' }), 'config.toml')
  process.env['FLISTFS_CONFIG'] = file
  t.teardown(() => delete process.env['FLISTFS_CONFIG'])
  if (pack !== undefined) await applySettings(() => program, pack)
  t.equal(pack?.opts()['sync'], false)
})

t.test('verbs that end or look at a mount read no settings', async (t) => {
  const program = buildProgram({ output: new Output(), signal: new AbortController().signal }, () => undefined)
  process.env['FLISTFS_CONFIG'] = '/nowhere/config.toml'
  t.teardown(() => delete process.env['FLISTFS_CONFIG'])
  for (const name of ['umount', 'list', 'stats', 'why', 'log-level', 'trace']) {
    const verb = program.commands.find((command) => command.name() === name)
    t.ok(verb, name)
    if (verb !== undefined)
      await t.resolves(
        applySettings(() => program, verb),
        name,
      )
  }
})

t.test('config shows what is in force, where it comes from, and no password', async (t) => {
  const dir = t.testdir({
    flistfs: {
      'config.toml': '[mount]\ntimeout = 7\nstore = "zdb://:secret@localhost:9900/ns"\n[cache]\nolder = "30d"\n',
    },
  })
  mkdirSync(join(dir, 'run'), { mode: 0o700 })
  const env = {
    ...process.env,
    XDG_CONFIG_HOME: dir,
    FLISTFS_CACHE: '/c',
    FLISTFS_RUNTIME: join(dir, 'run'),
    NODE_OPTIONS: '',
  }
  const run = (...words: string[]): Promise<string> =>
    new Promise((done) => {
      execFile(LAUNCHER, ['config', ...words], { env, timeout: 120_000 }, (_error, stdout) => done(stdout))
    })
  const file = join(dir, 'flistfs/config.toml')
  const { files, settings } = JSON.parse(await run('--json')) as { files: unknown[]; settings: { verb: string }[] }
  t.match(files, [{ path: '/etc/flistfs/config.toml' }, { path: file, found: true }])
  t.match(
    settings.filter(({ verb }) => verb === 'mount'),
    [
      { option: 'store', values: ['zdb://***@localhost:9900/ns'], from: `${file}:3` },
      { option: 'cache', values: ['/c'], from: 'FLISTFS_CACHE' },
      { option: 'timeout', values: ['7'], from: `${file}:2` },
    ],
  )
  t.match(await run(), new RegExp(`mount +timeout +7 +${file}:2`))
  t.match(
    settings.filter(({ verb }) => verb === 'cache prune'),
    [
      { option: 'cache', from: 'FLISTFS_CACHE' },
      { option: 'older', values: ['30d'], from: `${file}:5` },
    ],
    'of verbs below a verb too',
  )
})
