import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { checkTarget, TemporaryFile } from '../../lib/system/index.ts'

const NO_ROOT = process.getuid?.() !== 0 && 'needs root'
const DOOR = join(import.meta.dirname, '../../lib/system/index.ts')

t.test('TemporaryFile has its name when it is whole, and leaves nothing where it never is', async (t) => {
  const dir = t.testdir({ 'a.fl': 'old' })
  const path = join(dir, 'a.fl')
  {
    using file = new TemporaryFile(path, 0o640)
    writeSync(file.fd, 'new')
    t.equal(readFileSync(path, 'utf8'), 'old')
    t.equal(readdirSync(dir).length, 2)
    file.publish()
    t.equal(readFileSync(path, 'utf8'), 'new')
    t.equal(statSync(path).mode & 0o777, 0o640 & ~process.umask())
  }
  t.strictSame(readdirSync(dir), ['a.fl'], 'what has its name keeps it')
  {
    using file = new TemporaryFile(path)
    writeSync(file.fd, 'half')
    file[Symbol.dispose]()
  }
  t.strictSame(readdirSync(dir), ['a.fl'])
  t.equal(readFileSync(path, 'utf8'), 'new')
  const long = join(dir, 'é'.repeat(127))
  new TemporaryFile(long).publish()
  t.ok(statSync(long), 'a name may be as long as names are')
  t.throws(() => new TemporaryFile(join(dir, 'none/a.fl')), { code: 'ENOENT' })
})

t.test('TemporaryFile opens nothing to others that was closed to them', async (t) => {
  const dir = t.testdir({ file: '' })
  const path = join(dir, 'file')
  const replaced = (mode: number): number => {
    chmodSync(path, mode)
    using file = new TemporaryFile(path)
    t.equal(statSync(file.path).mode & 0o077 & ~mode, 0, 'nor while it is written')
    file.publish()
    return statSync(path).mode & 0o777
  }
  for (const mode of [0o600, 0o640, 0o444, 0o400]) t.equal(replaced(mode), mode & ~process.umask(), mode.toString(8))
  t.equal(replaced(0o666), 0o644 & ~process.umask())
})

t.test('TemporaryFile belongs to whom the one before belonged', { skip: NO_ROOT }, async (t) => {
  const dir = t.testdir({ file: '' })
  const path = join(dir, 'file')
  const owners = (): readonly number[] => {
    new TemporaryFile(path).publish()
    const { uid, gid, mode } = statSync(path)
    return [uid, gid, mode & 0o777]
  }
  chmodSync(path, 0o640)
  chownSync(path, 0, 1234)
  t.strictSame(owners(), [0, 1234, 0o640])
  chownSync(path, 1000, 1234)
  t.strictSame(owners(), [0, 0, 0o600], 'not to a stranger, who may have put it there to have the next one')
  chownSync(dir, 1000, 1000)
  chownSync(path, 1000, 1234)
  t.strictSame(owners(), [1000, 1234, 0o600])
})

t.test('checkTarget() refuses what is read', async (t) => {
  const dir = t.testdir({ file: '', other: '', link: t.fixture('symlink', 'file') })
  const refused = { code: 'FLIST_USAGE', message: /is what is read/ }
  t.throws(() => checkTarget(join(dir, 'link'), join(dir, 'file')), refused)
  t.throws(() => checkTarget(join(dir, 'file'), join(dir, 'link')), refused)
  checkTarget(join(dir, 'new'), join(dir, 'file'))
  checkTarget(join(dir, 'other'), join(dir, 'none'))
})

t.test('TemporaryFile takes the place of files alone', async (t) => {
  const dir = t.testdir({
    folder: {},
    file: '',
    link: t.fixture('symlink', 'file'),
    astray: t.fixture('symlink', 'none'),
  })
  for (const target of ['/dev/null', join(dir, 'folder')]) {
    t.throws(() => new TemporaryFile(target), { code: 'FLIST_USAGE', message: new RegExp(`"${target}": it is there`) })
  }
  for (const name of ['link', 'astray']) new TemporaryFile(join(dir, name)).publish()
  t.strictSame(readdirSync(dir).toSorted(), ['astray', 'file', 'folder', 'link'])
  t.ok(lstatSync(join(dir, 'link')).isFile())
  t.ok(statSync('/dev/null').isCharacterDevice())
})

t.test('TemporaryFile takes away what a killed writer left, and never what a living one has', async (t) => {
  const dir = t.testdir({})
  const path = join(dir, 'a.fl')
  const script = `
    import { checkTarget, TemporaryFile } from ${JSON.stringify(DOOR)}
    const file = new TemporaryFile(${JSON.stringify(path)})
    console.log(file.path)
    setInterval(() => file, 1000)
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const [said] = (await once(child.stdout, 'data')) as [Buffer]
  const theirs = said.toString().trim()
  const others = ['.a.fl.flistfs-0123456789ab.tmp.mine', '.a.fl.flistfs-short.tmp', '.b.fl.flistfs-0123456789ab.tmp']
  for (const name of others) writeFileSync(join(dir, name), 'not ours to take')
  mkdirSync(join(dir, '.a.fl.flistfs-ba9876543210.tmp'))
  const before = readdirSync(dir).length
  {
    using mine = new TemporaryFile(path)
    using another = new TemporaryFile(path)
    t.not(mine.path, another.path)
    t.ok(statSync(theirs), 'its writer is at work')
    t.equal(readdirSync(dir).length, before + 2, 'two of one process stay too')
  }
  child.kill('SIGKILL')
  await once(child, 'exit')
  t.ok(statSync(theirs), 'it was left')
  new TemporaryFile(path).publish()
  t.throws(() => statSync(theirs), { code: 'ENOENT' }, 'the next writer of that name takes it away')
  t.strictSame(
    readdirSync(dir).toSorted(),
    [...others, '.a.fl.flistfs-ba9876543210.tmp', 'a.fl'].toSorted(),
    'and nothing else',
  )
})
