import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { mapFile } from '../../lib/system/index.ts'

t.test('mapFile() shows the bytes of a file, without a descriptor left', async (t) => {
  const path = join(t.testdir({ file: 'content of the file' }), 'file')
  const mapping = mapFile(path, 19)
  t.equal(Buffer.from(mapping.bytes).toString(), 'content of the file')
  mapping.release()
  t.equal(Buffer.from(mapping.bytes).toString(), 'content of the file', 'released pages come back')
  writeFileSync(path, 'CONTENT', { flag: 'r+' })
  t.equal(Buffer.from(mapping.bytes).toString(), 'CONTENT of the file', 'it is shared')
  t.match(readFileSync('/proc/self/maps', 'utf8'), path)
  mapping.close()
  t.notMatch(readFileSync('/proc/self/maps', 'utf8'), path)
  mapping.close()
  mapping.release()
})

t.test('mapFile() writes where it was asked to', async (t) => {
  const path = join(t.testdir({ file: 'before' }), 'file')
  const mapping = mapFile(path, 6, true)
  Buffer.from(mapping.bytes).write('AFTER!')
  mapping.close()
  t.equal(readFileSync(path, 'utf8'), 'AFTER!')
})

t.test('mapFile() of what cannot be mapped', async (t) => {
  const dir = t.testdir({ empty: '' })
  t.throws(() => mapFile(join(dir, 'absent'), 10), { code: 'ENOENT' })
  t.throws(() => mapFile(dir, 10), { code: 'FLIST_SYSTEM', message: /^Cannot map ".*": (ENODEV|EACCES)/ })
  t.throws(() => mapFile(join(dir, 'empty'), 0), /Broken invariant/)
})
