import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseMounts } from '../../lib/kernel/mount-info.ts'
import { processStart } from '../../lib/kernel/processes.ts'
import {
  controlSocketPath,
  listMounts,
  type MountRecord,
  prepareRuntimeDir,
  registerMount,
  runtimeDir,
  unregisterMount,
} from '../../lib/kernel/registry.ts'

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
  process.env['FLISTFS_RUNTIME'] = `/${'x'.repeat(110)}`
  t.throws(() => controlSocketPath('a'), RangeError)
})
