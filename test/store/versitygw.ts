import { existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { startServer } from '../server-program.ts'

const PROGRAM = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'flistfs-test/bin/versitygw')

/** Why tests that need an S3 server which checks signatures cannot run here, or false. `test/setup.sh` installs it. */
export const NO_S3: string | false = !existsSync(PROGRAM) && 'needs versitygw: sh test/setup.sh, with Go installed'

export const ACCESS = 'access-key'
/** With characters that a URL must encode. */
export const SECRET = 'hunter2/s3+cr%3Det'

export interface Gateway {
  readonly host: string
  /** Objects are files here: <bucket>/<key>. */
  readonly dir: string
}

/** An S3 server on `address`, that checks signatures. */
export async function startGateway(t: Test, address = '::1', words: readonly string[] = []): Promise<Gateway> {
  const dir = t.testdir({ gateway: {}, home: {} })
  const root = join(dir, 'gateway')
  mkdirSync(join(root, 'blocks'), { recursive: true })
  const at = address.includes(':') ? `[${address}]` : address
  const { port } = await startServer(t, PROGRAM, ['--port', `${at}:0`, '--quiet', ...words, 'posix', root], {
    HOME: join(dir, 'home'),
    ROOT_ACCESS_KEY: ACCESS,
    ROOT_SECRET_KEY: SECRET,
  })
  return { host: `${at}:${port}`, dir: root }
}
