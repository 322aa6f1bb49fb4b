import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { Log } from '../../lib/base/index.ts'
import { FetchClient } from '../../lib/kernel/index.ts'

/** A thread that answers reads with nothing, ends at `used`, and hears no `end`. */
const THREAD = new URL(
  `data:text/javascript,${encodeURIComponent(`
    import { parentPort } from 'node:worker_threads'
    parentPort.on('message', (message) => {
      if (message.op === 'used') process.exit()
      if (message.op === 'read') parentPort.postMessage({ ...message, op: 'reply', errno: 0, content: new Uint8Array() })
    })
    parentPort.postMessage({ op: 'up' })
  `)}`,
)

t.test('a thread that died unused is started by the next read, which waits for it', { timeout: 60_000 }, async (t) => {
  const device = join(t.testdir(), 'device')
  const client = new FetchClient(THREAD)
  const { promise: lost, resolve: onLost } = Promise.withResolvers<void>()
  const log = new Log(2)
  const refuse = { fd: openSync(device, 'w'), afterMs: 1, cacheDir: '' }
  const mount = client.add({ data: undefined, log, onLost, refuse })
  const read = (): Promise<number> =>
    new Promise((resolve) => {
      mount.onReply = ({ errno }) => resolve(errno)
      mount.read(1, 0, 0, 0, 1)
    })
  t.equal(await read(), 0)
  client.used([1])
  await lost
  // Long after.
  const now = performance.now.bind(performance)
  t.teardown(() => (performance.now = now))
  performance.now = () => now() + 3_600_000
  t.equal(await read(), 0)
  t.equal(readFileSync(device).length, 0, 'it was not refused')
  const worker = client.worker
  t.ok(worker)
  const ended = worker && once(worker, 'exit')
  client.used([1])
  await ended
})

/** A thread that closes all at `end`, while a call of its holds it: one that opens a pipe to which nobody writes. */
const HELD = (pipe: string): URL =>
  new URL(
    `data:text/javascript,${encodeURIComponent(`
      import { open } from 'node:fs'
      import { parentPort } from 'node:worker_threads'
      parentPort.on('message', (message) => {
        if (message.op !== 'end') return
        parentPort.postMessage({ op: 'over' })
        parentPort.close()
      })
      open(${JSON.stringify(pipe)}, () => {})
      parentPort.postMessage({ op: 'up' })
    `)}`,
  )

t.test('close() waits no longer for a thread that has closed all', { timeout: 60_000 }, async (t) => {
  const pipe = join(t.testdir(), 'pipe')
  execFileSync('mkfifo', [pipe], { timeout: 60_000 })
  const client = new FetchClient(HELD(pipe))
  const worker = client.start()
  if (worker === undefined) throw new Error('no thread')
  const exit = once(worker, 'exit')
  await once(worker, 'message')
  const begun = performance.now()
  await client.close()
  t.ok(performance.now() - begun < 5_000)
  t.ok(client.isStuck, 'whoever has it must leave by exitNow')
  // Lets it go.
  closeSync(openSync(pipe, constants.O_RDWR))
  await exit
})
