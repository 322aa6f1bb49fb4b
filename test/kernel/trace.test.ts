import { spawnSync } from 'node:child_process'
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { once } from 'node:events'
import t from 'tap'
import { ERRNO } from '../../lib/base/index.ts'
import { Trace } from '../../lib/kernel/index.ts'
import { OPCODE, READ_IN } from '../../lib/wire/index.ts'
import { frameOf } from './frame-driver.ts'

const lines = (path: string): string[] => readFileSync(path, 'utf8').trimEnd().split('\n')

t.test('a trace has a line a request and a line a reply', async (t) => {
  const path = join(t.testdir(), 'trace')
  const trace = new Trace()
  t.equal(trace.on, false)
  trace.start(path)
  t.equal(trace.on, true)
  t.equal(trace.path, path)
  const body = Buffer.alloc(READ_IN.size)
  body.writeBigUInt64LE(524_288n, READ_IN.offset)
  body.writeUInt32LE(4096, READ_IN.bytes)
  const read = frameOf(OPCODE.read, 18n, body, 2n ** 40n + 6n)
  trace.request(read)
  trace.replyTo(read, 0, 4096, 12.6)
  const lookup = frameOf(OPCODE.lookup, 1n, Buffer.from('et\nc\0'), 8n)
  trace.request(lookup)
  trace.replyTo(lookup, ERRNO.ENOENT, 0, 3)
  trace.stop()
  const found = lines(path).map((line) => line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z /, ''))
  t.strictSame(found, [
    `> READ unique=1099511627782 node=18 pid=${process.pid} offset=524288 size=4096`,
    '< READ unique=1099511627782 ok bytes=4096 us=13',
    String.raw`> LOOKUP unique=8 node=1 pid=${process.pid} "et\x0ac"`,
    '< LOOKUP unique=8 ENOENT bytes=0 us=3',
  ])
  t.equal(statSync(path).mode & 0o777, 0o600, 'names of files are for this user')
})

t.test('a pipe gets what its reader has room for, and is never waited for nor renamed', async (t) => {
  const path = join(t.testdir(), 'pipe')
  spawnSync('mkfifo', [path], { timeout: 120_000 })
  const trace = new Trace(undefined, 100)
  t.throws(() => trace.start(path), { code: 'FLIST_SYSTEM' }, 'nobody reads it')
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  t.teardown(() => closeSync(reader))
  trace.start(path)
  for (let nth = 0; nth < 5000; nth += 1) trace.reply(OPCODE.read, nth, 0, 0, 1, 1)
  const read = Buffer.alloc(1000)
  t.match(read.toString('utf8', 0, readSync(reader, read)), /< READ unique=0 ok/)
  t.ok(statSync(path).isFIFO(), 'as it was')
  trace.stop()
})

t.test('start() says when the file cannot be written, and leaves a trace that is on alone', async (t) => {
  const path = join(t.testdir(), 'trace')
  const trace = new Trace()
  trace.start(path)
  t.throws(() => trace.start('/nowhere/at/all'), { code: 'FLIST_SYSTEM' })
  t.equal(trace.path, path)
  t.equal(trace.on, true)
  trace.stop()
  trace.stop()
})

t.test('a full trace becomes .old, and two threads write one file', async (t) => {
  const path = join(t.testdir(), 'trace')
  const bytesMax = 20_000
  const trace = new Trace(undefined, bytesMax)
  trace.start(path)
  const door = new URL('../../lib/kernel/index.ts', import.meta.url).href
  const worker = new Worker(
    `const { workerData } = require('node:worker_threads')
    import(${JSON.stringify(door)}).then(({ Trace }) => {
      const trace = new Trace(workerData, ${bytesMax})
      for (let nth = 0; nth < 500; nth += 1) trace.reply(1, nth, 1, 0, 0, 1)
    })`,
    { eval: true, workerData: trace.memory },
  )
  const ended = once(worker, 'exit', { signal: AbortSignal.timeout(120_000) })
  for (let nth = 0; nth < 500; nth += 1) {
    trace.reply(1, nth, 2, 0, 0, 1)
    if (nth % 50 === 0) await new Promise(setImmediate)
  }
  t.strictSame(await ended, [0])
  trace.reply(1, 4711, 3, 0, 0, 1)
  t.ok(existsSync(`${path}.old`))
  t.ok(statSync(path).size < bytesMax + 200)
  t.match(lines(path).at(-1), `unique=${3n * 2n ** 32n + 4711n} `, 'the last line is in the new file')
  for (const file of [path, `${path}.old`]) {
    t.ok(
      lines(file).every((line) => /^\S+Z < LOOKUP unique=\d+ ok bytes=0 us=1$/.test(line)),
      'lines are whole',
    )
  }
  trace.stop()
})

t.test('settle() lets go of the file when another thread has switched off', async (t) => {
  const path = join(t.testdir(), 'trace')
  const one = new Trace()
  const second = new Trace(one.memory)
  one.start(path)
  second.reply(1, 1, 0, 0, 0, 1)
  const open = (): number => readOpen().filter((target) => target === path).length
  t.equal(open(), 2)
  one.stop()
  second.settle()
  t.equal(open(), 0)
})

function readOpen(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      return []
    }
  })
}
