import { randomBytes } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { BugError, errnoName, FlistError } from '../base/index.ts'
import { lockWhole } from './files.ts'

/** Letters of the name it will have: with four bytes each there is room for the rest in 255. */
const NAMED_MAX = 50
const TRIES_MAX = 10

/**
 * A file that gets its name when it is whole. It lies in the folder of that name, and is locked as long as its writer lives: so the
 * next writer of the same name takes away what one that was killed has left, and never the file of one that is at work, wherever
 * that runs. Where it takes the place of a file, whoever could not read that one cannot read it either. Throws what `checkTarget` throws.
 */
export class TemporaryFile implements Disposable {
  /** Where it is now. */
  readonly path: string
  /** Open for reading and writing. */
  readonly fd: number
  readonly #target: string
  readonly #mode: number
  #isOpen = true

  constructor(target: string, mode = 0o644) {
    this.#target = target
    checkTarget(target)
    removeAbandoned(target)
    const before = statSync(target, { throwIfNoEntry: false })
    const { path, fd } = create(target, (mode & (before?.mode ?? PERMISSIONS)) | TO_US)
    this.path = path
    this.fd = fd
    const made = fstatSync(fd).mode & PERMISSIONS
    this.#mode = before === undefined ? made : made & giveTo(fd, before, statSync(dirname(target)).uid)
  }

  /** It is on the disk, and has its name. */
  publish(): void {
    // A copy into it has the mode of what it was copied from.
    fchmodSync(this.fd, this.#mode)
    fsyncSync(this.fd)
    renameSync(this.path, this.#target)
    this.#close()
    const folder = openSync(dirname(this.#target), 'r')
    try {
      fsyncSync(folder)
    } finally {
      closeSync(folder)
    }
  }

  /** Does nothing once it has its name. Idempotent. */
  [Symbol.dispose](): void {
    if (!this.#isOpen) return
    rmSync(this.path, { force: true })
    this.#close()
  }

  #close(): void {
    this.#isOpen = false
    closeSync(this.fd)
  }
}

const PERMISSIONS = 0o777
const OF_GROUP = 0o070
/** It is opened by its path too. */
const TO_US = 0o600

/**
 * Gives a new file to whom the one before belongs, and says which permissions it may have then. Not to somebody who has put a file into
 * a folder for all, like /tmp, to have the next one.
 */
function giveTo(fd: number, before: Stats, folderOwner: number): number {
  const made = fstatSync(fd)
  const isMeant = before.uid === made.uid || before.uid === folderOwner
  try {
    if (isMeant && (before.uid !== made.uid || before.gid !== made.gid)) fchownSync(fd, before.uid, before.gid)
  } catch {
    // Not root: another group has nothing to do with it.
  }
  return fstatSync(fd).gid === before.gid ? before.mode : before.mode & ~OF_GROUP
}

/**
 * Throws FLIST_USAGE where a file cannot take the place of what is there: a folder, or a device, which root would lose (/dev/null), or
 * `source`, which it is made of. What the system says where its folder is not there, or not to be written to.
 */
export function checkTarget(target: string, source?: string): void {
  const there = statSync(target, { throwIfNoEntry: false })
  const read = source === undefined ? undefined : statSync(source, { throwIfNoEntry: false })
  if (there !== undefined && there.ino === read?.ino && there.dev === read.dev) {
    throw new FlistError('FLIST_USAGE', `Cannot write "${target}": it is what is read, and would be lost`, {
      hint: 'Name another file',
    })
  }
  if (there?.isFile() === false) {
    throw new FlistError('FLIST_USAGE', `Cannot write "${target}": it is there, and no file`, {
      hint: 'Name a file: what a verb writes to standard output (-) goes to pipes and devices too',
    })
  }
  accessSync(dirname(target), constants.W_OK | constants.X_OK)
}

function create(target: string, mode: number): { path: string; fd: number } {
  for (let attempt = 0; attempt < TRIES_MAX; attempt += 1) {
    const path = `${join(dirname(target), prefixOf(target))}${randomBytes(6).toString('hex')}${SUFFIX}`
    const fd = openSync(path, 'wx+', mode)
    // Before the lock was taken another writer may have thought it abandoned.
    const isLost = errnoName(-lockWhole(fd)) === 'EAGAIN' || fstatSync(fd).nlink === 0
    if (!isLost) return { path, fd }
    closeSync(fd)
  }
  throw new BugError('A new file can be locked')
}

const SUFFIX = '.tmp'

function prefixOf(target: string): string {
  return `.${basename(target).slice(0, NAMED_MAX)}.flistfs-`
}

function removeAbandoned(target: string): void {
  const folder = dirname(target)
  const prefix = prefixOf(target)
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(prefix) || !/^[0-9a-f]{12}$/.test(name.slice(prefix.length, -SUFFIX.length))) continue
    if (!name.endsWith(SUFFIX)) continue
    const path = join(folder, name)
    try {
      const fd = openSync(path, 'r+')
      try {
        if (lockWhole(fd) === 0) rmSync(path, { force: true })
      } finally {
        closeSync(fd)
      }
    } catch {
      // Another user's, or gone: it is in nobody's way.
    }
  }
}
