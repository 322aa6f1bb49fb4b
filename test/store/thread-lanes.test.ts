import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t, { type Test } from 'tap'
import { ThreadLanes } from '../../lib/store/index.ts'

const BASE = pathToFileURL(join(import.meta.dirname, '../../lib/base/index.ts')).href

/** Threads of this code, and what a job of theirs ends with. */
async function failureOf(t: Test, code: string): Promise<unknown> {
  const path = join(t.testdir({}), 'worker.mjs')
  writeFileSync(path, `import { FlistError } from ${JSON.stringify(BASE)}\n${code}`)
  const lanes = new ThreadLanes({ url: pathToFileURL(path), name: 'test', threads: 2, data: {}, purpose: 'try it' })
  const failure = await lanes.run({}).then(
    () => undefined,
    (error: unknown) => error,
  )
  await t.rejects(lanes.room(), failure as Error, 'what breaks one thread breaks all')
  await lanes.close()
  return failure
}

t.test('ThreadLanes says of a thread that cannot begin what it said itself', { timeout: 60_000 }, async (t) => {
  const coded = `throw new FlistError('FLIST_STORE_DENIED', 'Cannot write there', { hint: 'Write elsewhere' })`
  t.match(await failureOf(t, coded), {
    name: 'FlistError',
    code: 'FLIST_STORE_DENIED',
    message: 'Cannot write there',
    hint: 'Write elsewhere',
  })
  const other = await failureOf(t, `throw Object.assign(new Error('broken'), { code: 'ENOENT' })`)
  t.match(other, { name: 'FlistError', code: 'FLIST_SYSTEM', message: 'Cannot try it: broken' })
})
