// Alone: it keeps all processors busy for a minute, and its deadlines are those of an operator.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { faultsOf } from '../torture/report.ts'
import { NO_MOUNT, PROJECT } from './lab.ts'

const SECONDS = 45
const LINE_SHOWN = 200
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024
/** Milliseconds; the run gives up by itself before that. */
const TIMEOUT_MS = (SECONDS + 600) * 1000

t.setTimeout(TIMEOUT_MS)

void t.test('a short torture', { skip: NO_MOUNT, timeout: TIMEOUT_MS }, async (t) => {
  const seed = String(Number(process.env['FLISTFS_TORTURE_SEED'] ?? Date.now() % 1_000_000))
  const words = [join(PROJECT, 'bin/node'), join(PROJECT, 'test/torture/run.ts')]
  const { NODE_OPTIONS: _taps, ...env } = process.env
  const run = ['--seconds', String(SECONDS), '--seed', seed]
  const { code, output } = await new Promise<{ code: number | null; output: string }>((done) => {
    const child = execFile('sh', [...words, ...run], { env, maxBuffer: OUTPUT_BYTES_MAX }, (_error, stdout, stderr) =>
      done({ code: child.exitCode, output: stdout + stderr }),
    )
  })
  t.comment(output)
  // The gate shows some lines after what is not ok: what was done last comes first.
  for (const { fault, before } of faultsOf(output)) {
    t.fail(fault, { before: before.toReversed().map((line) => line.slice(0, LINE_SHOWN)), at: null, stack: '' })
  }
  t.equal(code, 0, `seed ${seed}`)
})
