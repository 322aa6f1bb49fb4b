// One life of a process that uses a cache: fetches blocks, some into a large file's own segment, makes that file whole, finds others,
// forgets one, evicts, and closes. Argument: folder.
import { CachedReader } from '../../../../lib/store/cache/fetch-once.ts'
import { countingReader, NEVER, openCache, QUIET } from '../helpers.ts'
import { LARGE, LIFE, lifeBlocks } from './life.ts'

const [dir = ''] = process.argv.slice(2)
const { small, large, keys } = await lifeBlocks()
const cache = await openCache(dir, LIFE)
const reader = new CachedReader(cache, countingReader([...small, ...large]), { failureMemoryMs: 0, log: QUIET })
await Promise.all(small.slice(0, 3).map(({ ref }) => reader.get(ref, undefined, NEVER)))
cache.flush()
await Promise.all(
  large.map(({ ref }, nth) => reader.get(ref, { file: 'large', offset: nth * 524_288, fileBytes: LARGE }, NEVER)),
)
await cache.whole.assemble('large', LARGE, keys, 32, NEVER)
cache.forget(small[0]!.ref.key)
await Promise.all(small.map(({ ref }) => reader.get(ref, undefined, NEVER)))
cache.pin('kept', small[1]!.ref.key, 32)
cache.flush()
await cache.tidy()
await reader[Symbol.asyncDispose]()
await cache.close()
