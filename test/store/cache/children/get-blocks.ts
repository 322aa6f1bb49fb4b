// Gets the blocks of a prefix through a cache folder, many at a time, and prints the counters as one JSON line.
// Arguments: folder, prefix, blocks, milliseconds a fetch takes.
import { CachedReader } from '../../../../lib/store/cache/fetch-once.ts'
import { blocks, countingReader, NEVER, openCache, QUIET } from '../helpers.ts'

const [dir = '', prefix = '', count = '0', delayMs = '0'] = process.argv.slice(2)
const known = await blocks(prefix, Number(count))
const cache = await openCache(dir)
const inner = countingReader(known, Number(delayMs))
const reader = new CachedReader(cache, inner, { failureMemoryMs: 2000, log: QUIET })
process.stdout.write('ready\n')
await new Promise((resolve) => process.stdin.once('data', resolve))
process.stdin.pause()
let wrong = 0
await Promise.all(
  known.map(async ({ ref, plain }) => {
    const { location, bytes } = await reader.get(ref, undefined, NEVER)
    const found = bytes ?? (location === undefined ? undefined : cache.read(location))
    if (found?.equals(plain) !== true) wrong += 1
  }),
)
await cache.close()
process.stdout.write(`${JSON.stringify({ fetched: inner.fetched, wrong, counters: reader.counters })}\n`)
