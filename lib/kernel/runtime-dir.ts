import { lstatSync, readdirSync, readlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FlistError, makeFolder, ownsSystem, systemCode, systemReason, xdgFolder } from '../base/index.ts'

/** Where records and control sockets lie: $FLISTFS_RUNTIME, or /run/flistfs for root, or a folder of the user's own. */
export function runtimeDir(): string {
  const named = process.env['FLISTFS_RUNTIME']
  if (named) return named
  if (ownsSystem()) return '/run/flistfs'
  const uid = process.getuid?.() ?? 0
  const xdg = xdgFolder('XDG_RUNTIME_DIR')
  const dir = xdg !== undefined ? join(xdg, 'flistfs') : join(tmpdir(), `flistfs-${uid}`)
  // Root of a user namespace has mounts, and maybe processes, that nobody outside sees: who does not see them forgets them.
  return uid === 0 ? `${dir}-${namespaceNumber()}` : dir
}

function namespaceNumber(): string {
  return /\d+/.exec(readlinkSync('/proc/self/ns/mnt'))?.[0] ?? '0'
}

/** Makes the folder, for us alone. Throws FLIST_NOT_PERMITTED when someone else made it: under /tmp anyone could. */
export function prepareRuntimeDir(): string {
  const dir = runtimeDir()
  try {
    makeFolder(dir, 0o700)
  } catch (cause) {
    throw new FlistError('FLIST_NOT_PERMITTED', `Cannot use "${dir}" for records of mounts: ${systemReason(cause)}`, {
      hint: 'Name a folder of your own in FLISTFS_RUNTIME',
      cause,
    })
  }
  checkOwner(dir)
  return dir
}

function checkOwner(dir: string): void {
  const stat = lstatSync(dir)
  if (stat.isDirectory() && stat.uid === process.getuid?.() && (stat.mode & 0o022) === 0) return
  throw new FlistError('FLIST_NOT_PERMITTED', `Cannot use "${dir}" for records of mounts: others may write there`, {
    hint: 'Name a folder of your own in FLISTFS_RUNTIME',
  })
}

/** What lies in the folder; nothing where it is not there. Throws FLIST_NOT_PERMITTED, FLIST_SYSTEM. */
export function runtimeNames(dir: string): string[] {
  try {
    checkOwner(dir)
    return readdirSync(dir)
  } catch (error) {
    if (error instanceof FlistError) throw error
    if (systemCode(error) === 'ENOENT') return []
    throw new FlistError('FLIST_SYSTEM', `Cannot read the records of mounts in "${dir}"`, { cause: error })
  }
}
