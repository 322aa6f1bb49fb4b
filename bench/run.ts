import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { prepareFixtures } from './fixtures.ts'
import { machineLines } from './machine.ts'
import { table } from './report.ts'
import type { Bench, Outcome, Row } from './row.ts'
import { compile } from './rows/compile.ts'
import { killed } from './rows/killed.ts'
import { link } from './rows/link.ts'
import { convert, pack, unpack } from './rows/make.ts'
import { many } from './rows/many.ts'
import { memory } from './rows/memory.ts'
import { program } from './rows/program.ts'
import { random } from './rows/random.ts'
import { big, fetch, small } from './rows/read.ts'
import { requests } from './rows/requests.ts'
import { start } from './rows/start.ts'
import { walk } from './rows/walk.ts'
import { FULL, QUICK } from './scale.ts'
import { Systems } from './systems.ts'

/** npm run bench -- [--only ROW] [--quick] [--json FILE]: needs root, /dev/fuse, and 20 GB below $FLISTFS_BENCH_DIR. */
const ROWS: readonly Row[] = [
  walk,
  small,
  big,
  fetch,
  random,
  start,
  compile,
  memory,
  many,
  program,
  killed,
  link,
  requests,
  pack,
  unpack,
  convert,
]

const { values } = parseArgs({
  options: { only: { type: 'string', multiple: true }, quick: { type: 'boolean' }, json: { type: 'string' } },
})
const { only } = values
const wanted = ROWS.filter(({ name }) => only === undefined || only.includes(name))
if (wanted.length === 0) throw new RangeError(`No such row; rows are ${ROWS.map(({ name }) => name).join(', ')}`)
if (process.getuid?.() !== 0) throw new Error('Only root may mount and drop caches: run it as root')

const say = (text: string): void => void process.stderr.write(`${text}\n`)
const scale = values.quick ? QUICK : FULL
const fixtures = await prepareFixtures(scale, say)
const systems = new Systems(fixtures)
process.on('exit', () => systems.close())
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(130))

const bench: Bench = { scale, fixtures, systems, say }
const outcomes: Outcome[] = []
for (const row of wanted) {
  say(`row ${row.name}`)
  // Rows block this thread: an interrupt is heard between them.
  await new Promise(setImmediate)
  try {
    outcomes.push(...(await row.run(bench)))
  } catch (error) {
    say(`row ${row.name} failed: ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = 1
  }
}
const machine = machineLines(fixtures.work, systems.absent)
console.log([...machine.map((line) => `* ${line}`), '', table(outcomes)].join('\n'))
if (values.json !== undefined)
  writeFileSync(values.json, JSON.stringify({ scale: scale.name, machine, outcomes }, null, 2))
