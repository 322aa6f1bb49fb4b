import { PassThrough } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import t from 'tap'
import { unwritable } from '../../lib/make/unwritable.ts'

t.test('unwritable() names what the system said, and lets an interrupt be one', async (t) => {
  const full = Object.assign(new Error('full'), { code: 'ENOSPC' })
  t.match(unwritable('a.fl', full), {
    code: 'FLIST_SYSTEM',
    message: /^Cannot write the archive "a\.fl": .*\(ENOSPC\)$/,
  })
  const interrupt = await pipeline(new PassThrough(), new PassThrough(), { signal: AbortSignal.abort() }).catch(
    (error: unknown) => error,
  )
  t.match(interrupt, { name: 'AbortError', code: 'ABORT_ERR' })
  t.equal(unwritable('a.flist', interrupt), interrupt)
})
