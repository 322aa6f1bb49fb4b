import { readFileSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'
import t from 'tap'
import { DecodePool } from '../../lib/store/decode-pool.ts'
import { makeBlock, type TestBlock } from './blocks.ts'

const large = await Promise.all([
  makeBlock(524_288),
  makeBlock(524_288, 'v1'),
  makeBlock(100_000),
  makeBlock(65_536, 'v1'),
])
const small = await makeBlock(4096)

async function untilOffloaded(pool: DecodePool, { ref, stored }: TestBlock): Promise<Buffer | Promise<Buffer>> {
  for (;;) {
    const answer = pool.decode(ref, stored)
    if (!Buffer.isBuffer(answer)) return answer
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

void t.test('decode() gives plain bytes, from here or from a worker', async (t) => {
  await using pool = new DecodePool({ workers: 1 })
  t.ok(Buffer.isBuffer(pool.decode(small.ref, small.stored)), 'a small block at once')
  t.ok((await untilOffloaded(pool, large[0]!)).equals(large[0]!.plain))
  const all = Array.from({ length: 40 }, (_, at) => large[at % large.length]!)
  const answers = all.map(({ ref, stored }) => pool.decode(ref, stored))
  const away = answers.filter((answer) => !Buffer.isBuffer(answer)).length
  t.ok(away > 0 && away < 40, `${away} of 40 in the worker, the rest here`)
  for (const [at, answer] of answers.entries()) t.ok((await answer).equals(all[at]!.plain))
})

void t.test('a worker tells coded errors', async (t) => {
  await using pool = new DecodePool({ workers: 1 })
  await untilOffloaded(pool, large[0]!)
  const { ref, stored } = large[2]!
  const bad = Buffer.from(stored)
  bad[500]! ^= 1
  await t.rejects(
    Promise.resolve()
      .then(() => untilOffloaded(pool, { ...large[2]!, stored: bad }))
      .catch((error: unknown) => Promise.reject(error)),
    { code: 'FLIST_BLOCK_CORRUPT' },
  )
  await t.rejects(async () => untilOffloaded(pool, { ...large[2]!, ref: { ...ref, plainBytes: 5 } }), {
    code: 'FLIST_FILE_TRUNCATED',
  })
  t.ok((await pool.decode(ref, stored)).equals(large[2]!.plain), 'and lives on')
})

void t.test('where a worker dies its blocks are decoded here', async (t) => {
  const file = `${t.testdir()}/dying.mjs`
  writeFileSync(
    file,
    `import { parentPort } from 'node:worker_threads'
parentPort.on('message', () => process.exit(1))
parentPort.postMessage('ready')\n`,
  )
  await using pool = new DecodePool({ workers: 1, workerUrl: pathToFileURL(file) })
  t.ok((await untilOffloaded(pool, large[0]!)).equals(large[0]!.plain))
  t.ok(Buffer.isBuffer(pool.decode(large[0]!.ref, large[0]!.stored)), 'and so are all others')
})

void t.test('where no worker starts all is decoded here', async (t) => {
  await using pool = new DecodePool({ workers: 2, workerUrl: pathToFileURL(`${t.testdir()}/none.mjs`) })
  for (let i = 0; i < 3; i += 1) {
    t.ok(pool.decode(large[0]!.ref, large[0]!.stored) instanceof Buffer)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
})

void t.test('close() ends what is under way with its result; twice is fine', async (t) => {
  const pool = new DecodePool({ workers: 1 })
  await untilOffloaded(pool, large[0]!)
  const answers = large.map(({ ref, stored }) => pool.decode(ref, stored))
  await pool.close()
  await pool.close()
  for (const [at, answer] of answers.entries()) t.ok((await answer).equals(large[at]!.plain))
  t.ok(Buffer.isBuffer(pool.decode(large[0]!.ref, large[0]!.stored)))
})

void t.test('close() lets threads end themselves, those that still load too', async (t) => {
  const dir = t.testdir()
  const file = `${dir}/slow.mjs`
  writeFileSync(
    file,
    `import { parentPort } from 'node:worker_threads'
import { readFileSync, writeFileSync } from 'node:fs'
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300)
parentPort.on('message', (word) => { writeFileSync(${JSON.stringify(dir)} + '/heard', word); parentPort.close() })\n`,
  )
  const pool = new DecodePool({ workers: 1, workerUrl: pathToFileURL(file) })
  await pool.decode(large[0]!.ref, large[0]!.stored)
  await pool.close()
  t.equal(readFileSync(`${dir}/heard`, 'utf8'), 'close')
})

void t.test('an open pool lets the process end', async (t) => {
  const lib = resolve(import.meta.dirname, '../../lib/store')
  const blocks = resolve(import.meta.dirname, 'blocks.ts')
  const program = `const { DecodePool } = await import(${JSON.stringify(`${lib}/decode-pool.ts`)})
const { makeBlock } = await import(${JSON.stringify(blocks)})
const { ref, stored } = await makeBlock(300000)
const pool = new DecodePool({ workers: 1 })
let away = false
while (!away) { const answer = pool.decode(ref, stored); away = answer instanceof Promise; await answer; await new Promise(setImmediate) }
console.log('done')`
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 120_000,
  })
  t.equal(out, 'done\n')
})
