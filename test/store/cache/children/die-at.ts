// Loaded before a script (`--import`): kills the process at the Nth step that changes the disk. A step is the moment before a call,
// which is the moment after the call before it, or the middle of a write. FLISTFS_TEST_DIE_AT: N.
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { StatementSync } from 'node:sqlite'

const dieAt = Number(process.env['FLISTFS_TEST_DIE_AT'])
let steps = 0

function step(): void {
  steps += 1
  if (steps === dieAt) process.kill(process.pid, 'SIGKILL')
}

type Call = (...args: unknown[]) => unknown

function wrap(owner: object, name: string): void {
  const real = Reflect.get(owner, name) as Call
  Reflect.set(owner, name, function around(this: unknown, ...args: unknown[]): unknown {
    step()
    return Reflect.apply(real, this, args)
  })
}

for (const name of ['mkdirSync', 'renameSync', 'unlinkSync', 'rmSync', 'ftruncateSync']) wrap(fs, name)

const { openSync, writeSync } = fs
Reflect.set(fs, 'openSync', (...args: Parameters<typeof openSync>) => {
  const makes = typeof args[1] === 'string' && args[1].startsWith('w')
  if (makes) step()
  return openSync(...args)
})
Reflect.set(fs, 'writeSync', (fd: number, bytes: Uint8Array, from: number, length: number, at: number) => {
  if (fd <= 2) return writeSync(fd, bytes, from, length, at)
  step()
  const half = writeSync(fd, bytes, from, Math.max(1, length >> 1), at)
  step()
  return half + (half < length ? writeSync(fd, bytes, from + half, length - half, at + half) : 0)
})
// Statements that read do not change anything, but a death there costs nothing.
wrap(StatementSync.prototype, 'run')
syncBuiltinESMExports()
process.on('exit', () => {
  step()
  fs.writeSync(1, `steps ${steps}\n`)
})
