import { spawn } from 'node:child_process'
import { LIMITS, systemCode } from '../../base/index.ts'
import { isObject } from '../manifest.ts'
import type { Credentials } from './credentials.ts'
import { registryError } from './registry-errors.ts'

const ANSWER_BYTES_MAX = 64 * 1024
/** What a program has written before it ended arrives within this. */
const LAST_WORDS_MS = 1000
/** What a helper calls the user of an identity token (docker-credential-helpers, "Development"). */
const TOKEN_USER = '<token>'

/** Asks the program `docker-credential-NAME`. Undefined where it knows nothing of the registry. Throws FLIST_STORE_DENIED. */
export async function askHelper(
  name: string,
  key: string,
  registry: string,
  signal: AbortSignal,
  deadlineMs: number = LIMITS.credentialHelperMs,
): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`
  const no = (why: string): Error => registryError('FLIST_STORE_DENIED', registry, `the program "${program}" ${why}`)
  if (!/^[A-Za-z0-9._-]+$/.test(name)) throw no('has a name that none can have')
  // Whoever listens for it from here on would not hear of it.
  signal.throwIfAborted()
  const { code, out } = await run(program, key, no, signal, deadlineMs)
  if (code !== 0) {
    // The one failure that is an answer, in these words.
    if (out.includes('credentials not found')) return undefined
    throw no(`failed (${code ?? 'killed'})`)
  }
  let answer: unknown
  try {
    answer = JSON.parse(out)
  } catch {
    throw no('answered no JSON')
  }
  const [user, secret] = isObject(answer) ? [answer['Username'], answer['Secret']] : []
  if (typeof user !== 'string' || typeof secret !== 'string') throw no('answered without a user and a secret')
  return user === TOKEN_USER ? { kind: 'identity', token: secret } : { kind: 'password', user, password: secret }
}

/** Ends when the program has ended, also where something that it has started keeps its output open. */
function run(
  program: string,
  key: string,
  no: (why: string) => Error,
  signal: AbortSignal,
  deadlineMs: number,
): Promise<{ code: number | null; out: string }> {
  const deadline = AbortSignal.timeout(deadlineMs)
  const both = AbortSignal.any([signal, deadline])
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['get'], { stdio: ['pipe', 'pipe', 'ignore'] })
    let out = ''
    const end = (finish: () => void): void => {
      both.removeEventListener('abort', onAbort)
      child.stdout.destroy()
      child.kill('SIGKILL')
      finish()
    }
    const onAbort = (): void =>
      end(() => reject(signal.aborted ? (signal.reason as Error) : no('did not answer in time')))
    both.addEventListener('abort', onAbort)
    // A letter may come in two pieces.
    child.stdout.setEncoding('utf8')
    child.stdout.on('data', (piece: string) => {
      out += piece
      if (out.length > ANSWER_BYTES_MAX) child.kill('SIGKILL')
    })
    child.on('error', (error) => end(() => reject(no(`cannot be run (${systemCode(error)})`))))
    child.on('close', (code) => end(() => resolve({ code, out })))
    child.on('exit', (code) => setTimeout(() => end(() => resolve({ code, out })), LAST_WORDS_MS).unref())
    // It may end without reading.
    child.stdin.on('error', () => {})
    child.stdin.end(`${key}\n`)
  })
}
