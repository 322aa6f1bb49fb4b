/*
 * npm run torture -- [--seconds N] [--seed N] [--calm]: ten minutes of everything that can go wrong, under readers who compare every byte. Needs
 * root and /dev/fuse. The same seed makes the same tree and the same torments in the same order; what meets what is chance.
 * With --calm no server is killed, and the one there is must not grow.
 */
import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Lab, NO_MOUNT } from '../e2e/lab.ts'
import { excerpt } from './report.ts'
import { Torture } from './torture.ts'

const SECONDS = 600
/** Milliseconds after its time at which a run is given up, and what is left for cleaning. */
const GIVE_UP_MS = 400_000
const CLEAN_MS = 120_000

const { values } = parseArgs({
  options: { seconds: { type: 'string' }, seed: { type: 'string' }, calm: { type: 'boolean' } },
})
const seconds = Number(values.seconds ?? SECONDS)
const seed = Number(values.seed ?? Date.now() % 1_000_000)
if (!(seconds > 0) || !Number.isSafeInteger(seed)) throw new RangeError('--seconds and --seed are numbers')
if (NO_MOUNT) {
  console.log(`skipped: ${NO_MOUNT}`)
  process.exit(0)
}

const lab = new Lab()
const torture = new Torture(lab, { seconds, seed, calm: values.calm ?? false })
console.log(`seed ${seed}, ${seconds} s`)
let ending = false

/** Says what happened and takes all down. */
async function end(why: string | undefined): Promise<never> {
  if (ending) return await new Promise<never>(() => undefined)
  ending = true
  if (why !== undefined) for (const fault of [why, ...torture.stuck()]) torture.fault(fault)
  for (const line of torture.summary()) console.log(line)
  const logs = lab.logs()
  const { faults } = torture
  setTimeout(() => {
    console.log(
      `FAILED: cleaning took more than ${CLEAN_MS / 1000} s, ${faults.length} faults until then: ${faults.join('\n')}`,
    )
    process.exit(1)
  }, CLEAN_MS)
  await torture.close()
  for (const line of await lab.close()) if (why === undefined) torture.fault(`left behind: ${line}`)
  if (faults.length > 0) {
    const { events } = torture
    for (const line of excerpt(events)) console.log(line)
    const record = join(tmpdir(), `flistfs-torture-${seed}.log`)
    writeFileSync(record, [...events, logs].join('\n'))
    console.log(`all that was done, and the logs of the servers: ${record}`)
  }
  console.log(`${faults.length === 0 ? 'passed' : `FAILED: ${faults.length} faults`}, seed ${seed}`)
  process.exit(faults.length === 0 ? 0 : 1)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void end(`ended by ${signal}`))
setTimeout(() => void end(`not done ${GIVE_UP_MS / 1000} s after its time`), seconds * 1000 + GIVE_UP_MS)
try {
  await torture.run()
} catch (error) {
  await end(error instanceof Error ? (error.stack ?? error.message) : String(error))
}
await end(undefined)
