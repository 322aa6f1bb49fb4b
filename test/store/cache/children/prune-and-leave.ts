// Fills a cache, then prunes and repairs it as `flistfs cache` does. Argument: folder.
import { readdirSync, writeFileSync, readFileSync } from 'node:fs'
import { CacheKeeper } from '../../../../lib/store/cache/keeper.ts'
import { verifyCache } from '../../../../lib/store/cache/verify.ts'
import { NEVER, openCache, QUIET } from '../helpers.ts'
import { LIFE, lifeBlocks } from './life.ts'

const [dir = ''] = process.argv.slice(2)
const { small } = await lifeBlocks()
const cache = await openCache(dir, { ...LIFE, bytesMax: 64 * LIFE.bytesMax })
for (const { ref, plain } of small) cache.put(ref, plain)
await cache.close()
const keeper = new CacheKeeper(dir, QUIET)
keeper.pin('kept', small[1]!.ref.key, 32)
await keeper.prune({ bytesMax: 0, dryRun: false, protect: [] }, NEVER)
keeper.close()
const segments = `${dir}/v1/segments`
for (const folder of readdirSync(segments)) {
  for (const name of readdirSync(`${segments}/${folder}`)) {
    const bytes = readFileSync(`${segments}/${folder}/${name}`)
    bytes[100] = (bytes[100] ?? 0) ^ 1
    writeFileSync(`${segments}/${folder}/${name}`, bytes)
  }
}
await verifyCache(dir, { repair: true, log: QUIET }, NEVER)
