import { closeSync, constants, openSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { LIMITS } from '../base/index.ts'

/**
 * Binds or connects a unix socket whose path may be longer than its address: `use` gets a name that is short enough, and which
 * holds until it returns.
 */
export function withSocketPath<T>(path: string, use: (short: string) => T): T {
  if (Buffer.byteLength(path) <= LIMITS.socketPathBytesMax) return use(path)
  const folder = openSync(dirname(path), constants.O_DIRECTORY)
  try {
    return use(join('/proc/self/fd', String(folder), basename(path)))
  } finally {
    closeSync(folder)
  }
}
