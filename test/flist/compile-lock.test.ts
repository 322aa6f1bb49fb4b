import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { releaseLock, takeLock } from '../../lib/flist/compile-lock.ts'

t.test('takeLock() gives a lock to one process, and clears those of the dead and of another boot', async (t) => {
  const path = join(t.testdir(), 'lock')
  t.ok(takeLock(path))
  t.notOk(takeLock(path), 'its owner lives')
  const own = readFileSync(path, 'latin1')
  t.match(own, new RegExp(`^${process.pid} \\d+ [0-9a-f-]{36}\\n$`))
  const [pid, start] = own.split(' ')
  for (const [text, isFree] of [
    [`${pid} ${start}\n`, false],
    [`${pid} ${start} of-yesterday\n`, true],
    [`${pid} 1\n`, true],
    [`${2 ** 22 + 1} ${start}\n`, true],
    ['', false],
  ] as const) {
    writeFileSync(path, text)
    t.equal(takeLock(path), isFree, JSON.stringify(text))
  }
  releaseLock(path)
  releaseLock(path)
  t.notOk(existsSync(path))
  t.strictSame(readdirSync(t.testdirName), [])
})
