// Puts blocks into a cache until it is killed, and prints the number of each hundredth. Arguments: folder, prefix.
import { block, openCache } from '../helpers.ts'

const [dir = '', prefix = ''] = process.argv.slice(2)
const cache = await openCache(dir)
setTimeout(() => process.exit(3), 120_000)
for (let n = 0; ; n += 1) {
  const { ref, plain } = await block(`${prefix}-${n}`, 3000)
  cache.put(ref, plain)
  if (n % 100 === 0) process.stdout.write(`${n}\n`)
  if (n % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
}
