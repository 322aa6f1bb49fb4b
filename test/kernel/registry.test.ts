import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bootId } from '../../lib/base/index.ts'
import { parseMounts } from '../../lib/kernel/mount-info.ts'
import { processStart } from '../../lib/kernel/processes.ts'
import {
  controlSocketPath,
  listMounts,
  type MountRecord,
  passingChangesDir,
  recordNamed,
  recordsOf,
  registerMount,
  unregisterMount,
} from '../../lib/kernel/registry.ts'
import { prepareRuntimeDir, runtimeDir } from '../../lib/kernel/runtime-dir.ts'
import { claimServer } from '../../lib/kernel/shared-server.ts'
import { only } from '../only.ts'

function record(id: string, fields: Partial<MountRecord> = {}): MountRecord {
  const own = { pid: process.pid, pidStart: processStart(process.pid) ?? 0 }
  const base = {
    archive: 'a.fl',
    digest: '00',
    startedAt: '2026-01-01T00:00:00Z',
    cacheDir: '/c',
    connection: 70,
    ...own,
  }
  return { id, directory: `/mnt/${id}`, ...base, ...fields }
}

const GONE = { pid: 2 ** 22 + 1, pidStart: 1 }

function mounted(...pairs: [string, number][]) {
  return parseMounts(pairs.map(([dir, minor]) => `1 0 0:${minor} / ${dir} ro - fuse.flistfs a.fl ro`).join('\n'))
}

function inDir(t: Test): string {
  const dir = join(t.testdir(), 'run')
  process.env['FLISTFS_RUNTIME'] = dir
  t.teardown(() => delete process.env['FLISTFS_RUNTIME'])
  return dir
}

t.test('runtimeDir() is of this user alone', async (t) => {
  delete process.env['FLISTFS_RUNTIME']
  const uid = process.getuid?.()
  const { XDG_RUNTIME_DIR } = process.env
  if (uid === 0) t.equal(runtimeDir(), '/run/flistfs')
  else t.match(runtimeDir(), XDG_RUNTIME_DIR ?? `flistfs-${uid}`)
})

t.test('prepareRuntimeDir() refuses what others may write to, or a link', async (t) => {
  const dir = inDir(t)
  t.equal(prepareRuntimeDir(), dir)
  t.equal(statSync(dir).mode & 0o777, 0o700)
  chmodSync(dir, 0o777)
  t.throws(prepareRuntimeDir, { code: 'FLIST_NOT_PERMITTED' })
  const link = `${dir}-link`
  mkdirSync(`${dir}-real`, { mode: 0o700 })
  symlinkSync(`${dir}-real`, link)
  process.env['FLISTFS_RUNTIME'] = link
  t.throws(prepareRuntimeDir, { code: 'FLIST_NOT_PERMITTED' })
})

t.test('listMounts() tells what is served, dead or leaving, oldest first', async (t) => {
  inDir(t)
  t.strictSame(listMounts([]), [], 'no folder: nothing is mounted')
  registerMount(record('served', { startedAt: '2026-01-02T00:00:00Z' }))
  registerMount(record('dead', { ...GONE, connection: 71 }))
  registerMount(record('leaving', { connection: 72, startedAt: '2026-01-03T00:00:00Z' }))
  registerMount(
    record('rw', { connection: 73, rw: { upper: undefined, overlay: 80 }, startedAt: '2026-01-04T00:00:00Z' }),
  )
  const overlay = parseMounts('9 1 0:80 / /mnt/rw rw - overlay flistfs lowerdir=/low')
  const listings = listMounts([...mounted(['/mnt/served', 70], ['/mnt/dead', 71], ['/mnt/leaving', 99]), ...overlay])
  t.strictSame(
    listings.map(({ id, state }) => [id, state]),
    [
      ['dead', 'dead'],
      ['served', 'mounted'],
      ['leaving', 'leaving'],
      ['rw', 'mounted'],
    ],
  )
})

t.test('listMounts() removes a record that is no longer true, and leaves what it does not understand', async (t) => {
  const dir = inDir(t)
  registerMount(record('old', GONE))
  writeFileSync(join(dir, 'old.sock'), '')
  writeFileSync(join(dir, 'torn.json'), '{"id": "to')
  writeFileSync(join(dir, 'other.json'), JSON.stringify(record('another-id')))
  writeFileSync(join(dir, 'less.json'), '{"id": "less"}')
  t.strictSame(listMounts([]), [])
  t.strictSame(readdirSync(dir).toSorted(), ['less.json', 'other.json', 'torn.json'])
})

t.test(
  'listMounts() gives a mount to the youngest of the records that name it: its number was given again',
  async (t) => {
    const dir = inDir(t)
    const place = { directory: '/mnt/a', connection: 70 }
    registerMount(record('old', { ...place, ...GONE }))
    registerMount(record('leaving', { ...place, startedAt: '2026-01-02T00:00:00Z' }))
    registerMount(record('now', { ...place, startedAt: '2026-01-03T00:00:00Z' }))
    registerMount(record('over', { ...place, connection: 71, startedAt: '2026-01-04T00:00:00Z' }))
    const rw = { upper: undefined, overlay: 72 }
    registerMount(record('old-rw', { ...place, ...GONE, rw }))
    registerMount(record('rw', { ...place, connection: 74, rw, startedAt: '2026-01-05T00:00:00Z' }))
    const overlay = parseMounts('9 1 0:72 / /mnt/a rw - overlay flistfs lowerdir=/low')
    t.strictSame(
      listMounts([...mounted(['/mnt/a', 70], ['/mnt/a', 71]), ...overlay]).map(({ id, state }) => [id, state]),
      [
        ['leaving', 'leaving'],
        ['now', 'mounted'],
        ['over', 'mounted'],
        ['rw', 'mounted'],
      ],
    )
    t.notOk(existsSync(join(dir, 'old.json')))
  },
)

/** A record as an earlier boot of the machine left it. */
function leave(dir: string, elder: MountRecord): void {
  writeFileSync(join(dir, `${elder.id}.json`), JSON.stringify({ ...elder, boot: 'of-yesterday' }))
}

t.test('listMounts() removes what another boot left, and touches nothing of this one', async (t) => {
  const dir = inDir(t)
  const cacheDir = join(t.testdirName, 'cache')
  // Every number comes again: its processes live, and its mount stands.
  const bystander = spawn('sleep', ['600'], { stdio: 'ignore' })
  t.teardown(() => bystander.kill('SIGKILL'))
  const holder = { pid: bystander.pid ?? 0, pidStart: processStart(bystander.pid ?? 0) ?? 0 }
  registerMount(record('7-now', { holder, connection: 70, directory: '/mnt/a' }))
  leave(
    dir,
    record('7-elder', { holder, connection: 70, directory: '/mnt/a', cacheDir, rw: { upper: undefined, overlay: 80 } }),
  )
  mkdirSync(join(passingChangesDir(cacheDir, '7-elder'), 'upper'), { recursive: true })
  for (const kind of ['sock', 'state', 'opens', 'pending']) writeFileSync(join(dir, `7-elder.${kind}`), '')
  const [elderKey, key] = ['a'.repeat(24), 'b'.repeat(24)]
  const self = { pid: process.pid, pidStart: processStart(process.pid) ?? 0 }
  writeFileSync(join(dir, `${elderKey}.server`), JSON.stringify([{ ...self, boot: 'of-yesterday' }]))
  writeFileSync(join(dir, `${elderKey}.join`), '')
  t.ok(claimServer(key))
  t.equal(claimServer(elderKey), true, 'a key of another boot is free')
  writeFileSync(join(dir, `${elderKey}.server`), JSON.stringify([{ ...self, boot: 'of-yesterday' }]))

  const mounts = parseMounts(
    '1 0 0:70 / /mnt/a ro - fuse.flistfs a.fl ro\n9 1 0:80 / /mnt/a rw - overlay a.fl lowerdir=/low',
  )
  t.strictSame(recordsOf(self), [])
  t.strictSame(
    listMounts(mounts).map(({ id }) => id),
    ['7-now'],
  )
  t.strictSame(readdirSync(dir).toSorted(), ['7-now.json', `${key}.server`])
  t.equal(bystander.exitCode ?? bystander.signalCode, null, 'who has the number of its holder now lives')
  t.notOk(existsSync(passingChangesDir(cacheDir, '7-elder')), 'its changes were to be thrown away')

  leave(dir, record('8-elder'))
  t.equal(recordNamed('8-elder'), undefined)
  t.match(recordNamed('7-now'), { boot: bootId() })
})

t.test('listMounts() takes a record without a boot for one of this boot', async (t) => {
  const dir = inDir(t)
  prepareRuntimeDir()
  writeFileSync(join(dir, 'early.json'), JSON.stringify(record('early')))
  t.match(only(listMounts(mounted(['/mnt/early', 70]))), { id: 'early', state: 'mounted' })
})

t.test('listMounts() removes files of mounts that never were, when who began them has ended', async (t) => {
  const dir = inDir(t)
  prepareRuntimeDir()
  const gone = spawnSync('true').pid
  const kinds = ['sock', 'state', 'opens', 'pending', 'json.5.tmp', 'state.5.tmp']
  for (const pid of [gone, process.pid]) {
    for (const kind of kinds) writeFileSync(join(dir, `${pid}-abc.${kind}`), '')
    mkdirSync(join(dir, `lower-${pid}-abc`))
    writeFileSync(join(dir, `${'c'.repeat(24)}.server.${pid}.tmp`), '')
  }
  // Its mount has a record.
  registerMount(record(`${gone}-def`))
  writeFileSync(join(dir, `${gone}-def.pending`), '')
  // Not empty, which stands for what is mounted still.
  mkdirSync(join(dir, `lower-${gone}-def2/x`), { recursive: true })
  writeFileSync(join(dir, 'notes.txt'), '')
  // Not those of a number that begins with ours.
  const mine = readdirSync(dir).filter((name) => name.split(/[.-]/).includes(`${process.pid}`))
  listMounts(mounted([`/mnt/${gone}-def`, 70]))
  t.strictSame(
    readdirSync(dir).toSorted(),
    [...mine, `${gone}-def.json`, `${gone}-def.pending`, `lower-${gone}-def2`, 'notes.txt'].toSorted(),
  )
})

t.test('registerMount() replaces, and leaves no half file', async (t) => {
  const dir = inDir(t)
  registerMount(record('one'))
  registerMount(record('one', { archive: 'b.fl' }))
  t.strictSame(readdirSync(dir), ['one.json'])
  t.match(JSON.parse(readFileSync(join(dir, 'one.json'), 'utf8')), { archive: 'b.fl' })
  writeFileSync(join(runtimeDir(), 'one.json.77.tmp'), '{')
  writeFileSync(join(runtimeDir(), 'other.json.77.tmp'), '{')
  unregisterMount('one')
  unregisterMount('one')
  t.strictSame(readdirSync(dir), ['other.json.77.tmp'], "its own torn files go, nobody else's")
})

t.test('ids are names, never paths', async (t) => {
  inDir(t)
  for (const id of ['', '..', '.x', 'a/b', 'x'.repeat(65)]) t.throws(() => controlSocketPath(id), RangeError)
  t.match(controlSocketPath('abc-1'), /abc-1\.sock$/)
})
