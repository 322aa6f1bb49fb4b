import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bootId } from '../../lib/base/index.ts'
import { passingChangesDir, processStart } from '../../lib/kernel/index.ts'
import { claimChanges, releaseChanges, removeElderChanges } from '../../lib/runtime/index.ts'

const SELF = { pid: process.pid, pidStart: processStart(process.pid) ?? 0 }
const [ONE, OTHER] = ['1'.repeat(64), '2'.repeat(64)]

t.beforeEach((t) => {
  process.env['FLISTFS_RUNTIME'] = join(t.testdir({ run: {} }), 'run')
})

t.test('claimChanges() makes the folder, and gives it to one process and one archive', async (t) => {
  const changes = join(t.testdirName, 'a/changes')
  claimChanges(changes, ONE, SELF)
  t.equal(readFileSync(join(changes, 'archive'), 'utf8'), `${ONE}\n`)
  t.throws(() => claimChanges(changes, ONE, SELF), { code: 'FLIST_MOUNT_FAILED', message: /in use by process/ })
  releaseChanges(changes, SELF)
  releaseChanges(changes, SELF)
  t.strictSame(readdirSync(changes), ['archive'])
  t.throws(() => claimChanges(changes, OTHER, SELF), {
    code: 'FLIST_MOUNT_FAILED',
    message: /another archive, sha256:111/,
  })
  claimChanges(changes, ONE, SELF)
})

t.test('claimChanges() takes over from a process that died, not from one that lives', async (t) => {
  const changes = t.testdirName
  const dead = spawnSync('true').pid
  const elder = `1 ${processStart(1)} of-yesterday pid:[1]\n`
  for (const text of [`${dead} 1\n`, `${process.pid} 1\n`, elder, '', 'nonsense']) {
    writeFileSync(join(changes, 'in-use'), text)
    claimChanges(changes, ONE, SELF)
    t.match(
      readFileSync(join(changes, 'in-use'), 'utf8'),
      `${process.pid} ${processStart(process.pid)} ${bootId()} pid:[`,
    )
  }
  writeFileSync(join(changes, 'in-use'), `1 ${processStart(1)}\n`)
  t.throws(() => claimChanges(changes, ONE, SELF), { message: /in use by process 1$/ })
  releaseChanges(changes, SELF)
  t.ok(readdirSync(changes).includes('in-use'), 'what is another process’s stays')
})

t.test('claimChanges() says where nothing can be written', async (t) => {
  const file = join(t.testdirName, 'file')
  writeFileSync(file, '')
  t.throws(() => claimChanges(file, ONE, SELF), { code: 'FLIST_MOUNT_FAILED', hint: /--upper/ })
})

t.test('removeElderChanges() removes what another boot left, and nothing that may be in use', async (t) => {
  const cacheDir = t.testdirName
  removeElderChanges(cacheDir)
  const namespace = readlinkSync('/proc/self/ns/pid')
  const owners: Readonly<Record<string, string>> = {
    elder: `1 1 of-yesterday ${namespace}`,
    // Its boot id may be that of a container that runs beside us.
    container: '1 1 of-yesterday pid:[1]',
    now: `1 1 ${bootId()} ${namespace}`,
    early: '1 1',
    torn: '',
  }
  for (const [id, text] of Object.entries(owners)) {
    mkdirSync(join(passingChangesDir(cacheDir, id), 'upper/etc'), { recursive: true })
    writeFileSync(join(passingChangesDir(cacheDir, id), 'in-use'), `${text}\n`)
  }
  removeElderChanges(cacheDir)
  t.strictSame(readdirSync(join(cacheDir, 'v1/rw')).toSorted(), ['container', 'early', 'now', 'torn'])
})
