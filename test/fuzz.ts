/*
 * The long form of the mutation tests (`npm run fuzz`): each property of each file that reads FLISTFS_FUZZ_RUNS, 20,000
 * times by default, in a process whose peak memory is watched. `FLISTFS_FUZZ_SEED` gives the seed, which is printed with each verdict.
 */
import { spawn } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = join(import.meta.dirname, '..')
const PEAK_BYTES_MAX = 512 * 1024 * 1024
const runs = process.env['FLISTFS_FUZZ_RUNS'] ?? '20000'
const seed = process.env['FLISTFS_FUZZ_SEED'] ?? String(Date.now() % 2 ** 31)
const named = process.argv.slice(2)

function run(file: string): Promise<{ code: number; peakBytes: number; seconds: number }> {
  const began = Date.now()
  const child = spawn(process.execPath, ['--import', './test/fuzz-seed.ts', file], {
    cwd: ROOT,
    env: { ...process.env, FLISTFS_FUZZ_RUNS: runs, FLISTFS_FUZZ_SEED: seed, TAP_TIMEOUT: '0' },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  let peakBytes = 0
  const watch = setInterval(() => (peakBytes = Math.max(peakBytes, peakOf(child.pid))), 50)
  return new Promise((resolve) => {
    child.on('exit', (code) => {
      clearInterval(watch)
      resolve({ code: code ?? 1, peakBytes, seconds: (Date.now() - began) / 1000 })
    })
  })
}

/** VmHWM of a process, which the kernel keeps until its end. */
function peakOf(pid: number | undefined): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
  } catch {
    return 0
  }
}

const files =
  named.length > 0
    ? named
    : globSync('test/**/*.test.ts', { cwd: ROOT }).filter((file) =>
        readFileSync(join(ROOT, file), 'utf8').includes('FLISTFS_FUZZ_RUNS'),
      )
let failed = 0
for (const file of files) {
  const { code, peakBytes, seconds } = await run(file)
  const tooMuch = peakBytes > PEAK_BYTES_MAX
  if (code !== 0 || tooMuch) failed += 1
  const verdict = code !== 0 ? `failed (${code})` : tooMuch ? 'too much memory' : 'ok'
  console.log(
    `# ${file}: ${verdict}, ${runs} runs, seed ${seed}, ${seconds} s, peak ${Math.round(peakBytes / 2 ** 20)} MiB`,
  )
}
console.log(`${files.length - failed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
