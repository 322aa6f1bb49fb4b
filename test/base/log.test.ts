import { openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Log } from '../../lib/base/index.ts'

t.test(
  'Log writes beside its thread once it is careful, in order, also what it was told before it was closed',
  async (t) => {
    const path = join(t.testdir(), 'log')
    const log = new Log(openSync(path, 'a'))
    log.info('one')
    log.beCareful()
    for (const word of ['two', 'three']) log.info(word)
    await log.settle(10_000)
    t.notOk(log.isStuck)
    for (const word of ['four', 'five']) log.info(word)
    log.close()
    log.info('after the end')
    t.ok(log.isStuck)
    await log.settle(10_000)
    const words = readFileSync(path, 'utf8').trimEnd().split('\n')
    t.strictSame(
      words.map((line) => line.split(' ').at(-1)),
      ['one', 'two', 'three', 'four', 'five'],
    )
  },
)
