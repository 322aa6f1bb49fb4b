import { spawn } from 'node:child_process'
import { LIMITS, systemCode } from '../../base/index.ts'
import { isObject } from '../manifest.ts'
import type { Credentials } from './credentials.ts'
import { registryError } from './registry-errors.ts'

const ANSWER_BYTES_MAX = 64 * 1024
/** What a helper calls the user of an identity token (docker-credential-helpers, "Development"). */
const TOKEN_USER = '<token>'

/** Asks the program `docker-credential-NAME`. Undefined where it knows nothing of the registry. Throws FLIST_STORE_DENIED. */
export async function askHelper(
  name: string,
  key: string,
  registry: string,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const program = `docker-credential-${name}`
  const no = (why: string): Error => registryError('FLIST_STORE_DENIED', registry, `the program "${program}" ${why}`)
  if (!/^[A-Za-z0-9._-]+$/.test(name)) throw no('has a name that none can have')
  const { code, out } = await run(program, key, no, signal)
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

function run(
  program: string,
  key: string,
  no: (why: string) => Error,
  signal: AbortSignal,
): Promise<{ code: number | null; out: string }> {
  const deadline = AbortSignal.timeout(LIMITS.credentialHelperMs)
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['get'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      signal: AbortSignal.any([signal, deadline]),
      killSignal: 'SIGKILL',
    })
    let out = ''
    child.stdout.on('data', (piece: Buffer) => {
      out += piece.toString('utf8')
      if (out.length > ANSWER_BYTES_MAX) child.kill('SIGKILL')
    })
    child.on('error', (error) => {
      if (signal.aborted) reject(error)
      else reject(no(deadline.aborted ? 'did not answer in time' : `cannot be run (${systemCode(error)})`))
    })
    child.on('close', (code) => resolve({ code, out }))
    // It may end without reading.
    child.stdin.on('error', () => {})
    child.stdin.end(`${key}\n`)
  })
}
