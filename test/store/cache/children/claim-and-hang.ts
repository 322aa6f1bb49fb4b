// Claims the blocks of a prefix by beginning to fetch them, prints "claimed" once it fetches all, and never finishes.
// Arguments: folder, prefix, blocks.
import { CachedReader } from '../../../../lib/store/cache/fetch-once.ts'
import { blocks, NEVER, openCache, QUIET } from '../helpers.ts'

const [dir = '', prefix = '', count = '0'] = process.argv.slice(2)
const known = await blocks(prefix, Number(count))
const cache = await openCache(dir)
let begun = 0
const inner = {
  read: () => {
    begun += 1
    if (begun === known.length) process.stdout.write('claimed\n')
    return new Promise<Buffer>(() => {})
  },
  [Symbol.asyncDispose]: () => Promise.resolve(),
}
const reader = new CachedReader(cache, inner, { failureMemoryMs: 2000, log: QUIET })
setTimeout(() => process.exit(3), 120_000)
await Promise.all(known.map(({ ref }) => reader.get(ref, undefined, NEVER)))
