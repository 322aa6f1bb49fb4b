import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { isAlive, processStart, signalProcess, waitForEnd } from '../../lib/kernel/processes.ts'

const { signal } = new AbortController()

t.test('a process is known by pid and start', async (t) => {
  const pidStart = processStart(process.pid) ?? 0
  t.ok(pidStart > 0)
  t.ok(isAlive({ pid: process.pid, pidStart }))
  t.notOk(isAlive({ pid: process.pid, pidStart: pidStart + 1 }))
  t.equal(processStart(2 ** 22 + 1), undefined)
  t.notOk(
    signalProcess({ pid: process.pid, pidStart: pidStart + 1 }, 'SIGKILL'),
    'another one with our number is left alone',
  )
})

t.test('waitForEnd() sees an end, or the deadline', async (t) => {
  const child = spawn('sleep', ['30'], { stdio: 'ignore' })
  const target = { pid: child.pid ?? 0, pidStart: processStart(child.pid ?? 0) ?? 0 }
  t.equal(await waitForEnd(target, 20, signal), false)
  const exit = once(child, 'exit')
  const ended = waitForEnd(target, 10_000, signal)
  t.ok(signalProcess(target, 'SIGKILL'))
  t.equal(await ended, true)
  await exit
  t.notOk(signalProcess(target, 'SIGTERM'))
})

t.test('waitForEnd() ends when its signal does', async (t) => {
  const own = { pid: process.pid, pidStart: processStart(process.pid) ?? 0 }
  await t.rejects(waitForEnd(own, 10_000, AbortSignal.timeout(20)), { name: 'AbortError' })
})
