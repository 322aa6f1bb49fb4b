import { compileArchive } from '../../lib/flist/compile.ts'

/** compile.ts ARCHIVE INDEX: milliseconds and the most memory it took, as JSON. */
const [archive, index] = process.argv.slice(2)
if (archive === undefined || index === undefined) throw new RangeError('compile.ts ARCHIVE INDEX')
const started = performance.now()
await compileArchive(archive, index, { digest: '0'.repeat(64), signal: new AbortController().signal })
const ms = performance.now() - started
console.log(JSON.stringify({ ms, peakBytes: process.resourceUsage().maxRSS * 1024 }))
