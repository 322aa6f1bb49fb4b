import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'

const ROOT = resolve(import.meta.dirname, '../..')
/** Behind both names is `flistfs mount`: here it says what it was called with. */
const PROGRAM = '#!/bin/sh\nfor word; do echo "$word"; done\n'
const HERE = ['--as-zero-os', '--allow-other']

interface Called {
  readonly code: number | null
  readonly words: readonly string[]
  readonly stderr: string
}

const dir = t.testdir({ flistfs: PROGRAM, m: '', eta: '', '-m': '' })
for (const name of ['g8ufs', 'rfs', 'flistfs']) {
  if (name !== 'flistfs') copyFileSync(join(ROOT, 'bin', name), join(dir, name))
  chmodSync(join(dir, name), 0o755)
}

function call(name: string, ...words: readonly string[]): Called {
  const done = spawnSync(join(dir, name), words, { cwd: dir, encoding: 'utf8', timeout: 60_000 })
  return { code: done.status, words: done.stdout.split('\n').slice(0, -1), stderr: done.stderr }
}

const g8ufs = (...words: readonly string[]): Called => call('g8ufs', ...words)
const rfs = (...words: readonly string[]): Called => call('rfs', 'mount', ...words)

t.test('g8ufs takes flags as the flag package of Go does', async (t) => {
  const plain = ['mount', 'm', 't', ...HERE, '--default-store', 'redis://hub.grid.tf:9900', '--options', 'ro']
  const stays = [...plain, '--foreground']
  for (const words of [
    '--meta m --ro t',
    '-meta m -ro t',
    '-meta=m --ro=true t',
    '--meta=m -ro=T t',
    '-ro=1 -meta m t',
  ]) {
    t.strictSame(g8ufs(...words.split(' ')), { code: 0, words: stays, stderr: '' }, words)
  }
  t.strictSame(g8ufs('-daemon', '-meta', 'm', 't').words, plain)
  t.strictSame(g8ufs('--daemon=true', '-daemon=false', '-meta', 'm', 't').words, stays, 'the last word counts')
  for (const no of ['--ro=false', '-ro=F', '-ro=0']) {
    const { words } = g8ufs(
      no,
      '-backend=b',
      '-meta',
      'm',
      '-log=l:1',
      '-cache',
      'c=d',
      '-storage-url',
      'zdb://x:1/?a=b',
      't',
    )
    const own = ['--cache', 'c=d', '--log', 'l:1', '--default-store', 'zdb://x:1/?a=b', '--upper', 'b', '--foreground']
    t.strictSame(words, ['mount', 'm', 't', ...HERE, ...own], no)
  }
  t.strictSame(g8ufs('-version').words, ['--version'])
  t.match(g8ufs('-help'), { code: 0, words: [/^g8ufs --meta FILE/] })
  for (const wrong of ['-ro=yes', '--daemon=', '-rox', '-meta', '--bogus=1', '-ro false']) {
    t.match(g8ufs('--meta', 'm', 't', ...wrong.split(' ')), { code: 2, stderr: /^g8ufs: Cannot / }, wrong)
  }
})

t.test('rfs takes flags as clap does', async (t) => {
  const words = ['mount', 'm', 't', ...HERE, '--log', 'x', '--options', 'ro']
  for (const said of ['-dl x -mm t', '-dlx -m=m t', '-dl=x --meta=m t', '-d --log x t -m m', '-d -d -lx -mm -- t']) {
    t.strictSame(rfs(...said.split(' ')), { code: 0, words, stderr: '' }, said)
  }
  t.strictSame(rfs('-meta', 't').words.slice(0, 3), ['mount', 'eta', 't'], 'this is -m eta')
  t.strictSame(rfs('-m', '-m', '--', '-t').words.slice(0, 3), ['mount', './-m', './-t'], 'names that begin like flags')
  for (const before of [['--debug'], ['--debug', '--debug']]) {
    t.match(call('rfs', ...before, 'mount', '-mm', 't').words.join(' '), / --log-level debug /)
  }
  for (const help of [['help'], ['mount', '-h'], ['mount', '-dh'], ['help', 'mount']]) {
    t.match(call('rfs', ...help), { code: 0, words: [/^rfs \[--debug\] mount/] }, help.join(' '))
  }
  for (const wrong of ['-d=true', '--daemon=true', '-ds x', '--storage-url=x', '--backend b', '-daemon', '--meta']) {
    t.match(rfs('-mm', 't', ...wrong.split(' ')), { code: 2, stderr: /^rfs: Cannot / }, wrong)
  }
  t.match(call('rfs', '-d', 'mount', '-mm', 't'), { code: 2 }, 'before the verb are others')
})
