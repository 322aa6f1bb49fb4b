import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { endServer, isAlive, processStart, signalProcess, waitForEnd } from '../../lib/kernel/processes.ts'

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
  const child = spawn('sleep', ['3600'], { stdio: 'ignore' })
  const target = { pid: child.pid ?? 0, pidStart: processStart(child.pid ?? 0) ?? 0 }
  t.equal(await waitForEnd(target, 20, signal), false)
  const exit = once(child, 'exit')
  const ended = waitForEnd(target, 120_000, signal)
  t.ok(signalProcess(target, 'SIGKILL'))
  t.equal(await ended, true)
  await exit
  t.notOk(signalProcess(target, 'SIGTERM'))
})

t.test('waitForEnd() ends when its signal does', async (t) => {
  const own = { pid: process.pid, pidStart: processStart(process.pid) ?? 0 }
  await t.rejects(waitForEnd(own, 10_000, AbortSignal.timeout(20)), { name: 'AbortError' })
})

t.test('endServer() ends its own kind only, and does not mind who is dead already', async (t) => {
  const child = spawn('sleep', ['3600'], { stdio: 'ignore' })
  const { pid = 0 } = child
  await endServer(pid)
  t.ok(processStart(pid), 'not of the same supervisor')
  child.kill('SIGKILL')
  await once(child, 'exit')
  await endServer(pid)
  t.pass('gone before')
  const script = `sleep 3600 & node=$1; shift; FLISTFS_SIBLING=$! "$node" "$@"; wait $!; echo $?`
  const file = new URL('../../lib/kernel/processes.ts', import.meta.url).href
  const program = `const { endServer } = await import('${file}'); await endServer(Number(process.env.FLISTFS_SIBLING))`
  const words = ['-c', script, 'sh', process.execPath, '--input-type=module', '-e', program]
  const shell = spawn('sh', words, { stdio: ['ignore', 'pipe', 'inherit'] })
  const output: Buffer[] = []
  shell.stdout.on('data', (bytes: Buffer) => output.push(bytes))
  const [code] = (await once(shell, 'close')) as [number]
  t.equal(code, 0)
  t.equal(Buffer.concat(output).toString(), '137\n', 'killed')
})
