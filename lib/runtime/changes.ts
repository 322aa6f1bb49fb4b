import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { FlistError, systemCode } from '../base/index.ts'
import { isAlive, listMounts, type ProcessName } from '../kernel/index.ts'

const OWNER = 'in-use'
const ARCHIVE = 'archive'

/**
 * Takes the folder of a writable mount's changes for the process that ends with the mount, and for this archive; made if absent. Two overlays on one folder
 * spoil it, and so do changes to another archive; the kernel refuses both only with `index=on`. Throws FLIST_MOUNT_FAILED.
 */
export function claimChanges(changes: string, digest: string, owner: ProcessName): void {
  const holder = listMounts().find(({ rw, state }) => rw?.upper === changes && state !== 'leaving')
  if (holder !== undefined) throw inUse(changes, `by the mount on "${holder.directory}"`)
  try {
    mkdirSync(changes, { recursive: true })
    takeOwner(changes, owner)
    checkArchive(changes, digest, owner)
  } catch (error) {
    if (error instanceof FlistError) throw error
    throw new FlistError('FLIST_MOUNT_FAILED', `Cannot keep changes in "${changes}"`, {
      hint: 'Name a folder that can be written with --upper',
      cause: error,
    })
  }
}

/** For a mount that stands, whose owner has ended and is followed by this one. Throws FLIST_MOUNT_FAILED. */
export function inheritChanges(changes: string, owner: ProcessName): void {
  takeOwner(changes, owner)
}

/** The folder may be used by another mount. Call once unmounted, with who has it; idempotent. */
export function releaseChanges(changes: string, owner: ProcessName): void {
  const path = join(changes, OWNER)
  const known = ownerOf(path)
  if (known?.pid === owner.pid && known.pidStart === owner.pidStart) rmSync(path, { force: true })
}

function takeOwner(changes: string, owner: ProcessName): void {
  const path = join(changes, OWNER)
  const known = ownerOf(path)
  if (known !== undefined && isAlive(known)) throw inUse(changes, `by process ${known.pid}`)
  rmSync(path, { force: true })
  let fd: number
  try {
    fd = openSync(path, 'wx', 0o600)
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw inUse(changes, 'by a process that took it this moment')
    throw error
  }
  try {
    writeSync(fd, `${owner.pid} ${owner.pidStart}\n`)
  } finally {
    closeSync(fd)
  }
}

function ownerOf(path: string): ProcessName | undefined {
  const [pid = Number.NaN, pidStart = Number.NaN] = (readText(path) ?? '').trim().split(' ').map(Number)
  return Number.isSafeInteger(pid) && pid > 0 && Number.isSafeInteger(pidStart) ? { pid, pidStart } : undefined
}

function checkArchive(changes: string, digest: string, owner: ProcessName): void {
  const path = join(changes, ARCHIVE)
  const known = readText(path)?.trim()
  if (known === undefined) return writeFileSync(path, `${digest}\n`)
  if (known === digest) return
  releaseChanges(changes, owner)
  throw new FlistError(
    'FLIST_MOUNT_FAILED',
    `Cannot use "${changes}": it holds changes to another archive, sha256:${known}`,
    {
      hint: 'Name another folder with --upper, or the archive that these changes belong to',
    },
  )
}

function inUse(changes: string, how: string): FlistError {
  return new FlistError('FLIST_MOUNT_FAILED', `Cannot use "${changes}" for changes: it is in use ${how}`, {
    hint: 'Unmount that first (`flistfs list` shows what is mounted), or name another folder with --upper',
  })
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}
