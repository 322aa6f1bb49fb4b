import { closeSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import {
  bootId,
  describeError,
  FlistError,
  isOtherBoot,
  linkOf,
  makeFolder,
  namesIn,
  systemCode,
  systemReason,
} from '../base/index.ts'
import { isAlive, listMounts, passingChangesDir, type ProcessName } from '../kernel/index.ts'

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
    makeFolder(changes)
    takeOwner(changes, owner)
    checkArchive(changes, digest, owner)
  } catch (error) {
    if (error instanceof FlistError) throw error
    throw new FlistError('FLIST_MOUNT_FAILED', `Cannot keep changes in "${changes}": ${systemReason(error)}`, {
      hint: 'Name a folder that can be written with --upper',
      cause: error,
    })
  }
}

/**
 * Removes what writable mounts of before the last boot were to throw away, and could not: the machine lost its power, and the records of
 * mounts lie in memory. Only what was made in this very namespace of processes, which the machine's own is after each boot:
 * a container may say that it has booted by itself, and what it has mounted is in use.
 */
export function removeElderChanges(cacheDir: string): void {
  const folder = dirname(passingChangesDir(cacheDir, 'any'))
  for (const id of namesIn(folder)) {
    const owner = ownerOf(join(folder, id, OWNER))
    if (owner === undefined || !isOtherBoot(owner.boot) || owner.pidNamespace !== pidNamespace()) continue
    try {
      rmSync(join(folder, id), { recursive: true, force: true })
    } catch (error) {
      process.emitWarning(`Cannot remove changes of before the last boot: ${describeError(error)}`)
    }
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
  if (known !== undefined && !isOtherBoot(known.boot) && isAlive(known)) throw inUse(changes, `by process ${known.pid}`)
  rmSync(path, { force: true })
  let fd: number
  try {
    fd = openSync(path, 'wx', 0o600)
  } catch (error) {
    if (systemCode(error) === 'EEXIST') throw inUse(changes, 'by a process that took it this moment')
    throw error
  }
  try {
    writeSync(fd, `${owner.pid} ${owner.pidStart} ${bootId()} ${pidNamespace()}\n`)
  } finally {
    closeSync(fd)
  }
}

/** As it is written down: the numbers of processes mean nothing after another boot. */
interface Owner extends ProcessName {
  readonly boot: string | undefined
  readonly pidNamespace: string | undefined
}

function ownerOf(path: string): Owner | undefined {
  const [pid, pidStart, boot, namespace] = (readText(path) ?? '').trim().split(' ')
  const numbers = { pid: Number(pid), pidStart: Number(pidStart ?? Number.NaN) }
  if (!(numbers.pid > 0) || !Object.values(numbers).every((number) => Number.isSafeInteger(number))) return undefined
  return { ...numbers, boot, pidNamespace: namespace }
}

function pidNamespace(): string {
  return linkOf('/proc/self/ns/pid')
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
