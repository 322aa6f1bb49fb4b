import { closeSync, constants, openSync, writeSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { eventLoopFd, POLLHUP, POLLIN, PollSet, read } from '../../lib/system/index.ts'

t.test('PollSet tells which descriptor is ready', async (t) => {
  const path = join(t.testdir(), 'fifo')
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const other = openSync('/dev/null', 'r')
  const writer = openSync(path, constants.O_WRONLY)
  const set = new PollSet([reader])
  t.equal(set.wait(0), 0, 'nothing yet')
  writeSync(writer, 'x')
  t.equal(set.wait(1000), 1)
  t.equal(set.fdAt(0), reader)
  t.equal(set.eventsAt(0), POLLIN)
  read(reader, Buffer.alloc(1), 1)
  t.equal(set.wait(0), 0, 'taken')
  execFileSync('mkfifo', [`${path}-2`])
  const second = openSync(`${path}-2`, constants.O_RDWR | constants.O_NONBLOCK)
  set.add(second)
  t.equal(set.wait(0), 0)
  writeSync(second, 'x')
  t.equal(set.wait(1000), 1, 'of several, who is ready')
  t.equal(set.fdAt(0), second)
  set.remove(second)
  t.equal(set.wait(0), 0, 'not waited for any more')
  closeSync(writer)
  t.equal(set.wait(1000), 1)
  t.equal(set.eventsAt(0) & POLLHUP, POLLHUP, 'the last writer left')
  t.throws(() => set.add(other), { code: 'FLIST_SYSTEM' }, 'a file is always ready')
  set.close()
  for (const fd of [reader, second, other]) closeSync(fd)
})

t.test('PollSet waits as long as it was told', async (t) => {
  const set = new PollSet([])
  let started = 0
  let ready = -1
  // A signal, or a machine that was frozen, ends a wait early: then it begins again.
  while (ready === -1) {
    started = performance.now()
    ready = set.wait(50)
  }
  t.equal(ready, 0)
  t.ok(performance.now() - started >= 45)
  set.close()
})

/** Waits in poll(2) on the event loop until it wakes, then lets it run; fails where only the time limit woke it. */
async function awake(happened: () => boolean): Promise<number> {
  const set = new PollSet([eventLoopFd()])
  let turns = 0
  while (!happened()) {
    if (set.wait(60_000) === 0) throw new Error('it never woke')
    turns += 1
    await new Promise(setImmediate)
  }
  return turns
}

t.test('a thread that blocks on eventLoopFd() hears signals', { timeout: 600_000 }, async (t) => {
  let heard = 0
  process.on('SIGUSR2', () => (heard += 1))
  t.teardown(() => process.removeAllListeners('SIGUSR2'))
  process.kill(process.pid, 'SIGUSR2')
  await awake(() => heard > 0)
  t.equal(heard, 1)
})

t.test('a thread that blocks on eventLoopFd() hears messages', { timeout: 600_000 }, async (t) => {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads')
     parentPort.on('message', (word) => setTimeout(() => parentPort.postMessage(word + '!'), 100))`,
    { eval: true },
  )
  t.teardown(() => worker.terminate())
  await once(worker, 'online')
  const said: string[] = []
  worker.on('message', (word: string) => said.push(word))
  worker.postMessage('hello')
  await awake(() => said.length > 0)
  t.strictSame(said, ['hello!'])
})
