import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { SHELLS, type Shell } from '../../bin/completion-words.ts'
import { FLISTFS, Lab, NO_MOUNT } from '../e2e/lab.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const SAMPLE = join(ROOT, 'fixtures/sample/debian.fl')
const CAPTURE = join(import.meta.dirname, 'shells')

// A zsh takes a second to begin.
t.setTimeout(900_000)

/** What a shell offers for the last of these words. */
type Ask = (...words: string[]) => Promise<string[]>

function output(command: string, words: readonly string[], cwd: string, input = ''): Promise<string> {
  return new Promise((done, fail) => {
    const env = { PATH: process.env['PATH'] ?? '', HOME: cwd, TERM: 'dumb', LC_ALL: 'C.UTF-8' }
    const child = execFile(command, words, { cwd, env, timeout: 120_000 }, (error, stdout) => {
      if (error !== null && typeof error.code !== 'number') fail(error)
      else done(stdout)
    })
    // Who has ended does not read.
    child.stdin?.on('error', () => undefined).end(input)
  })
}

/** What bash offers at its prompt when TAB is pressed behind a line, and behind a `=` what the line is then. */
function atBash(script: string, cwd: string, line: string): Promise<string> {
  return output('bash', ['--norc', join(CAPTURE, 'capture.bash'), script], cwd, line)
}

function asker(shell: Shell, script: string, cwd: string): Ask {
  const lines = (text: string): string[] =>
    text
      .split('\n')
      .map((line) => line.replace(/\t.*$/, '').trim())
      .filter(Boolean)
      .sort()
  if (shell === 'bash') {
    return async (...words) => lines((await atBash(script, cwd, words.join(' '))).replace(/^=.*$/m, ''))
  }
  if (shell === 'zsh') {
    return async (...words) =>
      lines(await output('zsh', ['-f', join(CAPTURE, 'capture.zsh'), script, words.join(' ')], cwd))
  }
  const source = `source ${script}; complete -C`
  return async (...words) => lines(await output('fish', ['-N', '-c', `${source} '${words.join(' ')}'`], cwd))
}

for (const shell of SHELLS) {
  const absent = spawnSync(shell, ['-c', 'true'], { timeout: 120_000 }).status !== 0 && `needs ${shell}`
  void t.test(`completion in a real ${shell}`, { skip: absent, timeout: 600_000 }, async (t) => {
    const dir = t.testdir({ here: { 'one.fl': '', 'two.fl': '', folder: {} } })
    const script = join(dir, `completion.${shell}`)
    writeFileSync(script, await output(join(ROOT, 'bin/flistfs'), ['completion', shell], dir))
    const ask = asker(shell, script, join(dir, 'here'))
    /** Without what zsh says about the word itself, and fish's folders as bash names them. */
    const names = (found: readonly string[]): string[] => [...new Set(found.map((word) => word.replace(/\/$/, '')))]

    t.match(await ask('flistfs', 'um'), ['umount'], 'a verb')
    const verbs = await ask('flistfs', '')
    for (const verb of ['mount', 'umount', 'stats', 'cache', 'completion']) t.ok(verbs.includes(verb), verb)
    t.notOk(verbs.includes('resume'), 'hidden verbs stay hidden')
    t.strictSame(await ask('flistfs', 'cache', 'pru'), ['prune'], 'a verb below a verb')
    t.ok((await ask('flistfs', 'mount', '--pass')).join(' ').startsWith('--passthrough'), 'an option')
    t.ok((await ask('flistfs', 'stats', '--wat')).join(' ').startsWith('--watch'), 'an option of another verb')
    t.strictSame(await ask('flistfs', 'stats', '--pass'), [], 'no option of another verb')
    t.strictSame(await ask('flistfs', 'mount', '--verify', ''), ['always', 'once'], 'choices of an option')
    const joined = await ask('flistfs', 'mount', '--verify=al')
    t.match(joined.at(-1), /^(?:--verify=)?always$/, 'choices behind an equals sign')
    t.strictSame(
      await ask('flistfs', 'log-level', 'x', ''),
      ['debug', 'error', 'info', 'warn'],
      'choices of an argument',
    )
    t.strictSame(await ask('flistfs', 'completion', ''), ['bash', 'fish', 'zsh'])
    t.strictSame(names(await ask('flistfs', 'mount', 'o')), ['one.fl'], 'a file')
    t.strictSame(
      names(await ask('flistfs', 'mount', '--timeout', '3', 't')),
      ['two.fl'],
      'a file behind an option’s value',
    )
    t.strictSame(names(await ask('flistfs', 'mount', 'one.fl', 'f')), ['folder'], 'a folder')
    t.strictSame(names(await ask('flistfs', 'mount', 'one.fl', 'o')), [], 'no file where a folder is wanted')
    t.strictSame(names(await ask('flistfs', 'mount', '--cache', 'f')), ['folder'], 'the value of an option')
    t.strictSame(names(await ask('flistfs', 'unpack', 'one.fl', 'f')), ['folder'], 'a folder to fill, not a mount')
    t.strictSame(names(await ask('flistfs', 'pack', '--no-sync', 'f')), ['folder'], 'behind a switch')
    t.strictSame(names(await ask('flistfs', 'pack', '--sign', 'o')), ['one.fl'], 'a key')
    t.strictSame(names(await ask('flistfs', 'du', 'one.fl', 'one.fl', 't')), ['two.fl'], 'one of many')
    t.strictSame(names(await ask('flistfs', 'diff', 'one.fl', 't')), ['two.fl'])
    t.strictSame(names(await ask('flistfs', 'stat', 'one.fl', 'o')), [], 'no file where a name in an archive is wanted')
    const url = 'http://[::1]:8080/a=b.fl'
    t.strictSame(names(await ask('flistfs', 'mount', url, 'f')), ['folder'], 'a folder behind a URL')
    t.strictSame(names(await ask('flistfs', 'mount', '-s', 'zdb://h:9900', 'o')), ['one.fl'], 'a file behind a store')
    t.strictSame(names(await ask('flistfs', 'mount', `--store=${url}`, 'o')), ['one.fl'], 'and behind --store=')
  })

  if (shell === 'bash') {
    void t.test('what bash makes of a line', { skip: absent }, async (t) => {
      const dir = t.testdir({ here: { 'two two.fl': '', 'a:b': { c: {} }, 'x=y': {} } })
      const script = join(dir, 'completion.bash')
      writeFileSync(script, await output(join(ROOT, 'bin/flistfs'), ['completion', 'bash'], dir))
      const typed = async (line: string): Promise<string | undefined> =>
        /^=(.*)$/m.exec(await atBash(script, join(dir, 'here'), line))?.[1]
      // Behind a colon or an equals sign bash does not see what is a folder.
      for (const [line, now] of [
        ['umo', 'umount '],
        ['mount --ver', 'mount --verify '],
        ['mount --verify=al', 'mount --verify=always '],
        ['mount two', String.raw`mount two\ two.fl `],
        [String.raw`mount two\ t`, String.raw`mount two\ two.fl `],
        ['mount "two t', 'mount "two two.fl" '],
        ['mount http://h:1/x.fl a:b/', 'mount http://h:1/x.fl a:b/c '],
        ['mount   one.fl   a', String.raw`mount   one.fl   a\:b/`],
        ['mount one.fl x=', 'mount one.fl x=y '],
        ['mount --cache=x', String.raw`mount --cache=x\=y/`],
      ] as const) {
        t.equal(await typed(`flistfs ${line}`), `flistfs ${now}`, line)
      }
    })
  }

  const noMount = absent || NO_MOUNT
  void t.test(`mounted folders in a real ${shell}`, { skip: noMount, timeout: 600_000 }, async (t) => {
    const lab = new Lab()
    const cwd = lab.folder('here')
    const script = lab.path(`completion.${shell}`)
    writeFileSync(script, await output(join(ROOT, 'bin/flistfs'), ['completion', shell], cwd))
    const at = (name: string): string => lab.folder(`here/${name}`)
    const [plain, writable, zeroOs] = [at('plain'), at('with 1 blank'), at('zero-os')]
    await lab.ok(FLISTFS, ['mount', SAMPLE, plain])
    await lab.ok(FLISTFS, ['mount', SAMPLE, writable, '--rw'])
    // As one in the place of g8ufs does. Nobody serves it: who looked at it would hang.
    const held = 'exec 3<>/dev/fuse && mount -i -t fuse.g8ufs -o "$0" 1234 "$1" && echo mounted && exec sleep 3600'
    const fuse = ['-c', held, 'fd=3,rootmode=40000,user_id=0,group_id=0', zeroOs]
    const holder = spawn('sh', fuse, { stdio: ['ignore', 'pipe', 'ignore'] })
    const [said] = await Promise.race([once(holder.stdout, 'data'), once(holder, 'exit')])
    const there = [plain, writable, ...(Buffer.isBuffer(said) ? [zeroOs] : [])]
    if (there.length < 3) t.comment('skipped: one in the place of g8ufs')
    // Before the folder is taken away.
    try {
      const ask = asker(shell, script, cwd)
      for (const verb of ['umount', 'stats']) {
        const found = (await ask('flistfs', verb, '')).map((word) => word.replaceAll('\\', ''))
        for (const folder of there) t.ok(found.includes(folder), `${verb} offers ${folder}`)
      }
      t.strictSame(await ask('flistfs', 'umount', '/nowhere'), [])
    } finally {
      holder.kill('SIGKILL')
      spawnSync('umount', ['-l', zeroOs], { timeout: 120_000 })
      t.strictSame(await lab.close(), [], 'nothing is left')
    }
  })
}
