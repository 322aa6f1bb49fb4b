import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { PackResult } from '../../lib/make/index.ts'

t.setTimeout(1_800_000)

/** Points at which packing is killed; `FLISTFS_KILLS=50` is the campaign. */
const KILLS = Number(process.env['FLISTFS_KILLS'] ?? '6')
const FILES = 600
const PROGRAM = join(import.meta.dirname, '../../bin/flistfs.ts')

function start(dir: string, name: string) {
  const words = [
    'pack',
    join(dir, 'tree'),
    join(dir, name),
    '--store',
    `dir:${join(dir, 'blocks')}`,
    '--json',
    '--jobs',
    '2',
  ]
  const format = name.endsWith('.flist') ? ['--format', 'v1'] : []
  const env = { ...process.env, FLISTFS_CONFIG: '', FLISTFS_STORE: '' }
  // Node itself, with no launcher before it: what is killed is what packs.
  return spawn(process.execPath, [PROGRAM, ...words, ...format], { env, stdio: ['ignore', 'pipe', 'inherit'] })
}

async function packed(dir: string, name: string): Promise<PackResult> {
  const child = start(dir, name)
  return JSON.parse((await buffer(child.stdout)).toString()) as PackResult
}

/** Names of the blocks in a store. */
function blocksIn(store: string): string[] {
  if (!existsSync(store)) return []
  return readdirSync(store)
    .filter((shard) => shard !== '.tmp')
    .flatMap((shard) => readdirSync(join(store, shard)).map((id) => `${shard}/${id}`))
}

void t.test(
  'pack killed at any point leaves all whole, and goes on where it was',
  { timeout: 1_800_000 },
  async (t) => {
    const dir = t.testdir({ tree: {} })
    for (let file = 0; file < FILES; file += 1) {
      const folder = join(dir, 'tree', String(file % 20))
      mkdirSync(folder, { recursive: true })
      writeFileSync(join(folder, `file ${file}`), randomBytes(1 + ((file * 7919) % 20_000)))
    }
    const whole = new Map<string, PackResult>()
    for (const kind of ['fl', 'flist']) {
      whole.set(kind, await packed(dir, `whole.${kind}`))
      renameSync(join(dir, 'blocks'), join(dir, `whole.${kind}.blocks`))
    }
    for (let kill = 0; kill < KILLS; kill += 1) {
      const kind = kill % 2 === 0 ? 'fl' : 'flist'
      const { blocks, digest } = whole.get(kind)!
      const name = `${kill}.${kind}`
      const store = join(dir, 'blocks')
      rmSync(store, { recursive: true, force: true })
      const child = start(dir, name)
      const ended = new Promise((resolve) => child.once('exit', resolve))
      // From before the first block to after the last one.
      const wanted = Math.floor((kill * (blocks + 1)) / KILLS)
      while (blocksIn(store).length < wanted && child.exitCode === null) await sleep(1)
      child.kill('SIGKILL')
      await ended
      const left = blocksIn(store)
      const damaged = left.filter(
        (id) => !readFileSync(join(store, id)).equals(readFileSync(join(dir, `whole.${kind}.blocks`, id))),
      )
      t.same(damaged, [], `killed after ${left.length} of ${blocks} blocks`)
      const path = join(dir, name)
      if (existsSync(path)) t.equal(createHash('sha256').update(readFileSync(path)).digest('hex'), digest)
      const again = await packed(dir, name)
      t.equal(again.digest, digest)
      t.equal(again.newBlocks, blocks - left.length, 'only what is missing is sent')
      t.strictSame(
        readdirSync(dir).filter((other) => other.includes(name)),
        [name],
        'what the killed one began is gone',
      )
    }
  },
)

void t.test('pack interrupted ends with 130 and leaves no archive', { timeout: 600_000 }, async (t) => {
  const dir = t.testdir({ tree: {} })
  for (let file = 0; file < FILES; file += 1) writeFileSync(join(dir, 'tree', String(file)), randomBytes(20_000))
  const child = start(dir, 'a.fl')
  while (blocksIn(join(dir, 'blocks')).length < 3 && child.exitCode === null) await sleep(1)
  child.kill('SIGINT')
  const code = await new Promise((resolve) => child.once('exit', resolve))
  // A machine that is slow to deliver the signal may have packed all of it.
  if (code !== 0) {
    t.equal(code, 130)
    t.same(
      readdirSync(dir).filter((name) => name.startsWith('a.fl')),
      [],
    )
  }
  t.notOk(readdirSync(join(dir, 'blocks')).includes('.tmp'), 'nor what is half written')
})
