import fs, { mkdirSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { LIMITS } from '../../../lib/base/index.ts'
import { databasePath, segmentPath } from '../../../lib/store/cache/layout.ts'
import { cacheSummary, defaultCacheBytes } from '../../../lib/store/cache/summary.ts'
import { CacheView } from '../../../lib/store/cache/view.ts'
import { isGone, thisProcess } from '../../../lib/store/cache/writer-identity.ts'

void t.test('cacheSummary() is zero where there is no cache, and refuses a damaged one', (t) => {
  t.match(cacheSummary(`${t.testdir()}/none`), { bytes: 0, blocks: 0, segments: 0 })
  const dir = t.testdir({ v1: { 'cache.db': 'x'.repeat(5000) } })
  t.throws(() => cacheSummary(dir), { code: 'FLIST_CACHE_UNUSABLE' })
  t.end()
})

void t.test('a database whose maker was killed before it had tables holds nothing', (t) => {
  const dir = t.testdir()
  mkdirSync(`${dir}/v1`, { mode: 0o700 })
  const db = new DatabaseSync(databasePath(dir))
  db.exec('PRAGMA journal_mode = WAL')
  db.close()
  t.equal(cacheSummary(dir).blocks, 0)
  t.equal(CacheView.open(dir), undefined)
  t.end()
})

void t.test('defaultCacheBytes() suits the disk', (t) => {
  const dir = t.testdir()
  const disk = fs.statfsSync(dir)
  t.equal(
    defaultCacheBytes(`${dir}/not/there`),
    Math.min(LIMITS.cacheBytesDefault, Math.floor((disk.blocks * disk.bsize) / 4)),
  )
  t.end()
})

void t.test('segmentPath() spreads segments over 256 folders', (t) => {
  t.equal(segmentPath('/c', 1087), '/c/v1/segments/3f/1087.seg')
  t.equal(segmentPath('/c', 256), '/c/v1/segments/00/256.seg')
  t.end()
})

void t.test('isGone() knows the dead from the living', (t) => {
  const me = thisProcess()
  t.notOk(isGone(me, me))
  t.ok(isGone({ ...me, bootId: 'another' }, me), 'before the last boot')
  t.ok(isGone({ ...me, start: '1' }, me), 'the pid came back')
  t.ok(isGone({ ...me, pid: 2 ** 30 }, me))
  t.notOk(isGone({ ...me, pid: 2 ** 30, pidNamespace: 'pid:[1]' }, me), 'not to be seen from here')
  t.ok(isGone({ ...me, pid: 2 ** 30 }, { ...me, start: '' }), 'without /proc')
  t.notOk(isGone(me, { ...me, start: '' }))
  t.end()
})
