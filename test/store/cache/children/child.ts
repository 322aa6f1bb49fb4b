import { spawn } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { createInterface } from 'node:readline'

export interface Child {
  readonly process: ChildProcessByStdio<Writable, Readable, null>
  /** The next line it prints. */
  line(): Promise<string>
  ended: Promise<number | null>
}

const DEADLINE_MS = 120_000

/** Runs a script of this folder with the Node that runs the test; killed after 30 seconds. */
export function startChild(script: string, args: readonly string[]): Child {
  const child = spawn(process.execPath, [`${import.meta.dirname}/${script}`, ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), DEADLINE_MS)
  const ended = new Promise<number | null>((resolve) => {
    child.once('close', (code) => {
      clearTimeout(timer)
      resolve(code)
    })
  })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  return {
    process: child,
    ended,
    async line() {
      const next = await lines.next()
      if (next.done === true) throw new Error(`${script} ended without a line`)
      return next.value
    },
  }
}
