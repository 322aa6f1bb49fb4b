import { execFile } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t, { type Test } from 'tap'
import { ERROR_TABLE } from '../../lib/base/index.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const LAUNCHER = join(ROOT, 'bin/flistfs')

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** The real program, with records and cache of its own. */
function run(t: Test, words: readonly string[], env: Record<string, string> = {}, launcher = LAUNCHER): Promise<Ran> {
  const dir = t.testdirName
  const own = { FLISTFS_RUNTIME: join(dir, 'run'), FLISTFS_CACHE: join(dir, 'cache'), NODE_OPTIONS: '', ...env }
  return new Promise((done) => {
    execFile(launcher, words, { env: { ...process.env, ...own }, timeout: 120_000 }, (error, stdout, stderr) => {
      done({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr })
    })
  })
}

const errorOf = (ran: Ran) =>
  (JSON.parse(ran.stderr) as { error: { code: string; message: string; hint?: string; exit: number } }).error

t.test('--version prints the version of package.json', async (t) => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
  t.strictSame(await run(t, ['--version']), { code: 0, stdout: `${version}\n`, stderr: '' })
})

t.test('the program runs through a link, from anywhere', async (t) => {
  const dir = t.testdir()
  symlinkSync(LAUNCHER, join(dir, 'link'))
  t.match(await run(t, ['--version'], {}, join(dir, 'link')), { code: 0 })
})

t.test('--help is on stdout, for the program and each verb', async (t) => {
  const { stdout } = await run(t, ['--help'])
  for (const verb of ['mount', 'umount', 'list', 'stats', 'demo']) {
    t.match(stdout, new RegExp(`^  ${verb}\\b`, 'm'))
    const help = await run(t, [verb, '--help'])
    t.match(help, { code: 0, stdout: /Examples:\n {2}# / })
    t.match(help.stdout, '--json')
  }
})

t.test('a password among the words is warned of, once for each option, by every verb', async (t) => {
  const store = 's3://key:hunter2@store.invalid/bucket'
  const cases: [string[], string][] = [
    [['mount', 'absent.fl', '.', '--store', store], '--store'],
    [['mount', 'absent.fl', '.', '-o', `store=${store}`], '--store'],
    [['mount', 'absent.fl', '.', '--default-store', store], '--default-store'],
    [['cat', 'absent.fl', '/x', '-s', 'dir:///x', '-s', store], '--store'],
    [['unpack', 'absent.fl', 'x', `--store=00-ff=${store}`], '--store'],
    [['verify', 'absent.fl', '--repair', '--from', store, '--store', store], '--store --from'],
    [['pack', 'absent', 'x.fl', '--store', store], '--store'],
    [['convert', 'oci:absent', 'x.fl', '--store', store], '--store'],
    [['export', 'absent.fl', 'oci:x', '--store', store], '--store'],
    [['diff', 'absent.fl', 'other.fl', '--store', store], '--store'],
    [['edit', '--store', store, 'absent.fl', 'rm', '/x'], '--store'],
    [['merge', 'absent.fl', 'other.fl', '-o', 'x.fl', '--store', store], '--store'],
    [['route', 'absent.fl', '--add', store, '--set', store], '--add --set'],
    [['cache', 'pin', 'absent.fl', '--store', store], '--store'],
    [['inspect', 'a/b.flist', '--hub', 'http://me:hunter2@[::1]:1'], '--hub'],
    [['inspect', 'http://me:hunter2@[::1]:1/a.fl'], 'a URL'],
    [['cat', 'absent.fl', '/a@b', '--store', 'http://host/?password-file=/x'], ''],
  ]
  for (const [words, seen] of cases) {
    const { stderr } = await run(t, words)
    const warned = [...stderr.matchAll(/Warning: A password in (\S+(?: URL)?) is seen by every user/g)]
    t.strictSame(
      new Set(warned.map(([, name]) => name)),
      new Set(seen === 'a URL' ? [seen] : seen.split(' ').filter(Boolean)),
      words.join(' '),
    )
    t.equal(warned.length, new Set(warned.map(([, name]) => name)).size, 'once')
    t.notMatch(stderr, 'hunter2')
  }
  const hidden = await run(t, ['cat', 'absent.fl', '/x'], { FLISTFS_STORE: store })
  t.notMatch(hidden.stderr, 'Warning', 'nobody sees the environment')
})

t.test('help and version may be said as verbs', async (t) => {
  t.strictSame(await run(t, ['version']), await run(t, ['--version']))
  t.strictSame(await run(t, ['help']), await run(t, ['--help']))
  t.strictSame(await run(t, ['help', 'cache', 'prune']), await run(t, ['cache', 'prune', '--help']))
  t.match(await run(t, ['help', 'explode']), { code: 2, stdout: '', stderr: /verb "explode"/ })
})

t.test('a result that is lost to a full disk is a failure, a reader that left is none', async (t) => {
  const sample = join(ROOT, 'fixtures/sample/debian.fl')
  const verbs = [
    ['cat', sample, 'bin/bash'],
    ['unpack', sample, '--tar', '-'],
    ['ls', '-R', sample],
    ['inspect', sample],
  ]
  for (const words of [...verbs, ['ls', '--json', sample], ['tree', sample], ['completion', 'zsh'], ['--help']]) {
    const [script, name] = ['"$0" "$@" >/dev/full', words.join(' ')]
    const full = await run(t, ['-c', script, LAUNCHER, ...words], {}, 'sh')
    const error = /Cannot write the result to standard output: the disk is full \(ENOSPC\)/
    t.match(full, { code: 1, stderr: error }, name)
    const left = await run(t, ['-c', '{ "$0" "$@"; echo $? >&2; } | true', LAUNCHER, ...words], {}, 'sh')
    t.match(left, { code: 0, stderr: '0\n' }, `${name} | true`)
  }
})

t.test('an empty list of options is none', async (t) => {
  t.equal(errorOf(await run(t, ['mount', 'absent.fl', '.', '-o', '', '--json'])).code, 'FLIST_NOT_FOUND')
})

t.test('wrong usage exits with 2 and says what is wrong', async (t) => {
  const cases: [string[], RegExp][] = [
    [[], /a verb is missing/],
    [['explode'], /verb "explode"/],
    [['mount'], /missing required argument 'archive'/],
    [['mount', 'a', 'b', 'c'], /too many arguments/],
    [['list', '--nonsense'], /See `flistfs list --help`/],
    [['list', '--jsn'], /unknown option '--jsn'[^]*--json/],
    [['mount', 'a', 'b', '--verify', 'never'], /once, always/],
    [['mount', 'a', 'b', '--timeout', 'soon'], /Cannot use "soon" as a time/],
    [['mount', 'a', 'b', '--cache-size', 'big'], /"big"/],
    [['mount', 'a', 'b', '--digest', 'md5:00'], /Cannot use "md5:00" as a digest/],
  ]
  for (const [words, message] of cases) {
    const ran = await run(t, words)
    t.match(ran, { code: 2, stdout: '' }, words.join(' '))
    t.match(ran.stderr, message)
    t.match(ran.stderr, /^flistfs: Cannot [^]*\n {2}hint: /)
  }
})

t.test('--json gives results on stdout and errors on stderr, each one line of JSON', async (t) => {
  t.strictSame(await run(t, ['list', '--json']), { code: 0, stdout: '[]\n', stderr: '' })
  const usage = await run(t, ['mount', '--json'])
  t.match(errorOf(usage), { code: 'FLIST_USAGE', exit: 2 })
  const ran = await run(t, ['umount', '--json', t.testdir()])
  t.equal(ran.stdout, '')
  t.match(errorOf(ran), { code: 'FLIST_NOT_MOUNTED', hint: String, exit: ran.code })
  t.equal(ran.code, ERROR_TABLE.FLIST_NOT_MOUNTED.exit)
})

t.test('mount says why not, with the exit code of the reason', async (t) => {
  const dir = t.testdir({ 'page.fl': '<html>Welcome</html>', mnt: {}, file: '' })
  const cases: [string, string, string][] = [
    [join(dir, 'absent.fl'), 'mnt', 'FLIST_NOT_FOUND'],
    [join(dir, 'page.fl'), 'mnt', 'FLIST_FORMAT_UNKNOWN'],
    [join(dir, 'page.fl'), 'absent', 'FLIST_MOUNT_FAILED'],
    [join(dir, 'page.fl'), 'file', 'FLIST_MOUNT_FAILED'],
    ['http://127.0.0.1:1/a.fl', 'mnt', 'FLIST_STORE_UNREACHABLE'],
  ]
  for (const [archive, directory, code] of cases) {
    const ran = await run(t, ['mount', archive, join(dir, directory), '--json'])
    t.equal(ran.stdout, '')
    t.match(errorOf(ran), { code, exit: ran.code }, `${archive} on ${directory}`)
    t.equal(ran.code, ERROR_TABLE[code as keyof typeof ERROR_TABLE].exit)
  }
})

t.test('mount warns of a password in the words, and not of one in the environment', async (t) => {
  const dir = t.testdir({ 'page.fl': 'no archive', mnt: {} })
  const words = ['mount', join(dir, 'page.fl'), join(dir, 'mnt')]
  const store = 'zdb://:secret@127.0.0.1:9900/ns'
  const loud = await run(t, [...words, '--store', store])
  t.match(loud.stderr, /Warning: [^]*FLISTFS_STORE/)
  t.notMatch(loud.stderr, 'secret')
  t.notMatch((await run(t, words, { FLISTFS_STORE: store })).stderr, /Warning/)
})

t.test('a password in the URL of an archive brings a warning, whatever is done with it', async (t) => {
  const host = '127.0.0.1:1/a.fl'
  for (const words of [['ls'], ['mount'], ['cat', 'x']]) {
    const [verb = '', ...rest] = words
    const more = verb === 'mount' ? [t.testdir()] : rest
    const loud = await run(t, [verb, `http://me:secret@${host}`, ...more])
    t.match(loud.stderr, /Warning: [^]*credentials file/, verb)
    t.notMatch(loud.stderr, 'secret')
    t.notMatch((await run(t, [verb, `http://me@${host}`, ...more])).stderr, /Warning/)
  }
})

t.test('stats and umount of a folder that is no mount', async (t) => {
  const dir = t.testdir({ plain: {} })
  for (const verb of ['stats', 'umount']) {
    t.match(await run(t, [verb, join(dir, 'plain')]), { code: 1, stderr: /hint: See `flistfs list`/ }, verb)
    t.match(await run(t, [verb, '/proc']), { code: 1 }, verb)
  }
  t.strictSame(await run(t, ['stats']), { code: 0, stdout: 'Nothing is mounted\n', stderr: '' })
})

t.test('records of mounts where others may write are refused', async (t) => {
  const dir = t.testdir()
  mkdirSync(join(dir, 'run'))
  chmodSync(join(dir, 'run'), 0o777)
  t.match(await run(t, ['list']), { code: 1, stderr: /others may write there/ })
})
