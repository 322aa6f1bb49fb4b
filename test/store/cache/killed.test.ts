import { spawn } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import type { ClaimRequest } from '../../../lib/store/cache/claim-desk.ts'
import { CachedReader } from '../../../lib/store/cache/fetch-once.ts'
import { CacheKeeper } from '../../../lib/store/cache/keeper.ts'
import { databasePath } from '../../../lib/store/cache/layout.ts'
import { verifyCache } from '../../../lib/store/cache/verify.ts'
import { LIFE, lifeBlocks } from './children/life.ts'
import { countingReader, NEVER, openCache, QUIET } from './helpers.ts'

t.setTimeout(1_800_000)

const CHILDREN = `${import.meta.dirname}/children`

interface End {
  readonly signal: string | null
  readonly code: number | null
  readonly out: string
}

/** One life in `dir`, killed at step `dieAt` (0: never). */
function live(script: string, dir: string, dieAt: number): Promise<End> {
  return new Promise((resolve) => {
    const words = ['--import', `${CHILDREN}/die-at.ts`, `${CHILDREN}/${script}`, dir]
    const child = spawn(process.execPath, words, {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, NODE_OPTIONS: '', FLISTFS_TEST_DIE_AT: String(dieAt) },
    })
    const timer = setTimeout(() => child.kill('SIGTERM'), 300_000)
    let out = ''
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ signal, code, out })
    })
  })
}

/** What is wrong with a cache after a life: nothing, where the next process reads right bytes and the cache is whole again. */
async function faultsAfter(dir: string, known: Awaited<ReturnType<typeof lifeBlocks>>): Promise<string[]> {
  const faults: string[] = []
  const cache = await openCache(dir, LIFE)
  const all = [...known.small, ...known.large]
  const inner = countingReader(all)
  const asked: ClaimRequest[] = []
  const request = cache.claims.request.bind(cache.claims)
  cache.claims.request = (key, answer) => {
    const one = request(key, answer)
    asked.push(one)
    return one
  }
  const reader = new CachedReader(cache, inner, { failureMemoryMs: 0, log: QUIET })
  for (const { ref, plain } of all) {
    const { location, bytes } = await reader.get(ref, undefined, NEVER)
    const found = bytes ?? (location === undefined ? undefined : cache.read(location))
    if (found?.equals(plain) !== true) faults.push(`block ${ref.id.toString('hex')} is wrong`)
  }
  if (asked.some(({ seen }) => seen !== undefined)) faults.push('the claim of a dead process was waited for')
  const whole = cache.whole.find('large')
  if (whole !== undefined && whole.length === 0) faults.push('no path of a whole file')
  // Of the others some may have had to go: the cache is too small for all, and whole segments go.
  const last = all.at(-1)!
  if (cache.find(last.ref.key) === undefined) faults.push('what was read last is not kept')
  await reader[Symbol.asyncDispose]()
  await cache.close()
  const { damaged, database } = await verifyCache(dir, { repair: false, log: QUIET }, NEVER)
  if (damaged > 0) faults.push(`${damaged} rows are damaged`)
  if (database !== undefined) faults.push(database)
  const db = new DatabaseSync(databasePath(dir), { readOnly: true })
  const lost = 'SELECT count(*) AS n FROM block WHERE segment NOT IN (SELECT id FROM segment)'
  if (db.prepare(lost).get()?.['n'] !== 0) faults.push('rows point into no segment')
  db.close()
  return faults
}

void t.test(
  'whatever step of a life kill -9 ends, the next process reads right bytes',
  { timeout: 1_200_000 },
  async (t) => {
    const known = await lifeBlocks()
    const root = t.testdir()
    const whole = await live('fetch-and-leave.ts', `${root}/whole`, 0)
    const steps = Number(/steps (\d+)/.exec(whole.out)?.[1])
    t.ok(steps > 100, `${steps} steps`)
    t.strictSame(await faultsAfter(`${root}/whole`, known), [])
    // The first steps are each opening's own; all of them come, in the order of a shuffled deck, two at a time.
    let next = 1
    const worker = async (): Promise<void> => {
      while (next <= steps) {
        const n = next
        next += 1
        const dir = `${root}/${n}`
        mkdirSync(dir)
        const { signal, code } = await live('fetch-and-leave.ts', dir, n)
        // Timers differ from life to life: the last steps may not come.
        if (signal !== 'SIGKILL' && !(code === 0 && n > steps - 20)) t.fail(`step ${n} ended with ${signal ?? code}`)
        const faults = await faultsAfter(dir, known)
        if (faults.length > 0) t.strictSame(faults, [], `after a death at step ${n}`)
        rmSync(dir, { recursive: true })
      }
    }
    await Promise.all([worker(), worker()])
  },
)

void t.test('prune and repair may be killed at each step too', { timeout: 600_000 }, async (t) => {
  const known = await lifeBlocks()
  const root = t.testdir()
  const whole = await live('prune-and-leave.ts', `${root}/whole`, 0)
  const steps = Number(/steps (\d+)/.exec(whole.out)?.[1])
  t.ok(steps > 30, `${steps} steps`)
  for (let n = 1; n <= steps; n += 3) {
    const dir = `${root}/${n}`
    const { signal, code } = await live('prune-and-leave.ts', dir, n)
    if (signal !== 'SIGKILL' && !(code === 0 && n > steps - 20)) t.fail(`step ${n} ended with ${signal ?? code}`)
    const keeper = new CacheKeeper(dir, QUIET)
    await keeper.prune({ bytesMax: 0, dryRun: false, protect: [] }, NEVER)
    keeper.close()
    // What a repair that died had not reached is still damaged, and believed until the next one.
    await verifyCache(dir, { repair: true, log: QUIET }, NEVER)
    const faults = await faultsAfter(dir, known)
    if (faults.length > 0) t.strictSame(faults, [], `after a death at step ${n}`)
    rmSync(dir, { recursive: true })
  }
})
