/** How a program ended. */
export interface Ended {
  /** -1: it was killed, or could not be started. */
  readonly code: number
  readonly stdout: string
}

/**
 * Runs a program that looks at what may hang, and can be killed. Undefined: it had not ended in time. Nobody waits for it then: while a
 * server has a request of it that it does not answer, the kernel does not let it end.
 */
export async function runSoon(
  program: string,
  words: readonly string[],
  timeoutMs: number,
): Promise<Ended | undefined> {
  const { spawn } = await import('node:child_process')
  const { promise, resolve } = Promise.withResolvers<Ended | undefined>()
  const child = spawn(program, words, { cwd: '/', stdio: ['ignore', 'pipe', 'ignore'] })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.once('error', () => resolve({ code: -1, stdout }))
  child.once('close', (code) => resolve({ code: code ?? -1, stdout }))
  const timer = setTimeout(() => {
    child.kill('SIGKILL')
    child.unref()
    child.stdout.destroy()
    resolve(undefined)
  }, timeoutMs)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
  }
}
