import { randomBytes } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
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
 * that runs. Throws what `checkTarget` throws.
 */
export class TemporaryFile implements Disposable {
  /** Where it is now. */
  readonly path: string
  /** Open for reading and writing. */
  readonly fd: number
  readonly #target: string
  #isOpen = true

  constructor(target: string, mode = 0o644) {
    this.#target = target
    checkTarget(target)
    removeAbandoned(target)
    const { path, fd } = create(target, mode)
    this.path = path
    this.fd = fd
  }

  /** It is on the disk, and has its name. */
  publish(): void {
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

/**
 * Throws FLIST_USAGE where a file cannot take the place of what is there: a folder, or a device, which root would lose (/dev/null). What
 * the system says where its folder is not there, or not to be written to.
 */
export function checkTarget(target: string): void {
  if (statSync(target, { throwIfNoEntry: false })?.isFile() === false) {
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
