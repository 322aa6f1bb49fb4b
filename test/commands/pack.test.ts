import { execFile } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ownerId, timeOf } from '../../lib/commands/pack-values.ts'
import type { PackResult } from '../../lib/make/index.ts'

const PROGRAM = join(import.meta.dirname, '../../bin/flistfs.ts')

interface Done {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function flistfs(dir: string, ...words: string[]): Promise<Done> {
  const env = {
    ...process.env,
    HOME: dir,
    XDG_CACHE_HOME: join(dir, 'cache'),
    FLISTFS_CONFIG: '',
    FLISTFS_STORE: '',
    FLISTFS_CACHE: '',
  }
  return new Promise((done) => {
    execFile(process.execPath, [PROGRAM, ...words], { cwd: dir, env }, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

void t.test(
  'pack says what it has done, and ends with 3 where something is missing',
  { timeout: 600_000 },
  async (t) => {
    const dir = t.testdir({ tree: { one: 'one', two: 'two' } })
    const first = await flistfs(dir, 'pack', 'tree', 'a.fl', '-s', 'dir:blocks', '--jobs', '1')
    t.equal(first.code, 0)
    t.equal(first.stderr, '', 'nothing is said in a pipe')
    t.match(first.stdout, /^a\.fl: 3 entries, 6 B read, 2 blocks, 2 of them new \(\d+ B\)\nsha256:[0-9a-f]{64}\n$/)
    const again = await flistfs(dir, 'pack', 'tree', 'b.fl', '-s', 'dir:blocks', '--base', 'a.fl', '--json')
    t.match(JSON.parse(again.stdout) as PackResult, {
      entries: 3,
      bytes: 0,
      reused: 2,
      newBlocks: 0,
      problemCount: 0,
      problems: [],
    })
    t.ok(readFileSync(join(dir, 'a.fl')).equals(readFileSync(join(dir, 'b.fl'))))
    symlinkSync('nowhere', join(dir, 'tree/dangling'))
    const part = await flistfs(dir, 'pack', 'tree', 'c.fl', '-s', 'dir:blocks', '--follow')
    t.equal(part.code, 3)
    t.match(part.stderr, 'Warning: "dangling": its target is not there')
    t.match(part.stdout, '1 could not be packed as they are')
    t.same(
      readdirSync(dir)
        .filter((name) => name.endsWith('.fl'))
        .sort(),
      ['a.fl', 'b.fl', 'c.fl'],
    )
  },
)

void t.test('pack refuses words that mean nothing', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ tree: { one: 'one' }, 'a.tar': '' })
  const cases: [string[], number, RegExp][] = [
    [['tree', 'a.fl'], 2, /without a store/],
    [['tree', 'a.fl', '-s', 'http://127.0.0.1:1/'], 2, /only be read from there/],
    [['tree', 'a.fl', '-s', '00-7f=dir:blocks'], 2, /begin with 80/],
    [['tree', 'a.fl', '-s', 'dir:blocks', '--owner', 'nobody-of-that-name'], 2, /as a user/],
    [['tree', 'a.fl', '-s', 'dir:blocks', '--mtime', 'yesterday-ish'], 2, /as a time/],
    [['tree', 'a.fl', '-s', 'dir:blocks', '--jobs', '0'], 2, /1 to 64/],
    [
      ['a.tar', 'a.fl', '-s', 'dir:blocks', '--base', 'b.fl'],
      2,
      /--base with a tar: it does not say when .*\n.*not sent again/,
    ],
    [
      ['a.tar', 'a.fl', '-s', 'dir:blocks', '--follow'],
      2,
      /--follow with a tar: .* when it was made\n.*give it to tar/,
    ],
    [['-', 'a.fl', '-s', 'dir:blocks', '--one-file-system'], 2, /--one-file-system with a tar/],
    [['nowhere', 'a.fl', '-s', 'dir:blocks'], 10, /nowhere/],
  ]
  for (const [words, code, message] of cases) {
    const done = await flistfs(dir, 'pack', ...words)
    t.equal(done.code, code, words.join(' '))
    t.match(done.stderr, message)
  }
  t.notOk(readdirSync(dir).includes('a.fl'))
})

void t.test('ownerId() takes what tar takes', (t) => {
  t.equal(ownerId('root', 'user'), 0)
  t.equal(ownerId('root', 'group'), 0)
  t.equal(ownerId('12', 'user'), 12)
  t.equal(ownerId('+12', 'user'), 12)
  t.equal(ownerId('someone:4294967295', 'group'), 0xffff_ffff)
  for (const wrong of ['', ':', '4294967296', '-1', 'no such name', 'root:']) {
    t.throws(() => ownerId(wrong, 'user'), { code: 'FLIST_USAGE' }, wrong)
  }
  t.end()
})

void t.test('timeOf() takes what tar takes', (t) => {
  const dir = t.testdir({ file: '' })
  mkdirSync(join(dir, 'folder'))
  writeFileSync(join(dir, 'file'), 'x')
  utimesSync(join(dir, 'file'), 1234, 1234.5)
  const cases: [string, number, number][] = [
    ['@0', 0, 0],
    ['@-7', -7, 0],
    ['@1700000000.25', 1_700_000_000, 250_000_000],
    ['2026-01-31', 1_769_817_600, 0],
    ['2026-01-31 12:00', 1_769_860_800, 0],
    ['2026-01-31T12:00:00Z', 1_769_860_800, 0],
    ['2026-01-31T13:00:00.5+01:00', 1_769_860_800, 500_000_000],
    [join(dir, 'file'), 1234, 500_000_000],
  ]
  for (const [text, seconds, nanoseconds] of cases) t.same(timeOf(text), { seconds, nanoseconds }, text)
  for (const wrong of ['', 'soon', '@', '@1x', './nowhere'])
    t.throws(() => timeOf(wrong), { code: 'FLIST_USAGE' }, wrong)
  t.end()
})
