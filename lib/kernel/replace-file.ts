import { closeSync, fstatSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { FlistError, systemCode, systemReason } from '../base/index.ts'

/** No room for another file, or not for this user. */
const FULL = ['ENOSPC', 'EDQUOT']
/** Of `st_blocks`, stat(2). */
const BLOCK_BYTES = 512

/**
 * Puts a text in the place of a file of the runtime folder, whole or not at all; nobody else can read it. Not synced: a mount does not
 * outlive the machine. On a full disk what stands there is written over, which takes no room: whoever reads at that moment sees no
 * record, but a server that goes on is found. Throws FLIST_SYSTEM.
 */
export function replaceFile(path: string, text: string): void {
  try {
    renameInto(path, text)
  } catch (cause) {
    if (FULL.includes(systemCode(cause)) && writtenOver(path, text)) return
    throw cannotWrite(path, cause)
  }
}

/** What a file of the runtime folder that cannot be written is to be called. */
export function cannotWrite(path: string, cause: unknown): FlistError {
  const hint = FULL.includes(systemCode(cause)) ? 'Make room on its disk' : 'See to it that its folder can be written'
  return new FlistError('FLIST_SYSTEM', `Cannot write "${path}": ${systemReason(cause)}`, {
    hint: `${hint}, or name another folder in FLISTFS_RUNTIME`,
    cause,
  })
}

function renameInto(path: string, text: string): void {
  const temp = `${path}.${process.pid}.tmp`
  try {
    // All of it: a disk that is nearly full takes a part without a word.
    writeFileSync(temp, text, { flag: 'wx', mode: 0o600 })
    renameSync(temp, path)
  } finally {
    rmSync(temp, { force: true })
  }
}

/** False where it does not fit into the room that the file has: nothing is written. Blanks fill what is left, JSON may end in them. */
function writtenOver(path: string, text: string): boolean {
  try {
    const fd = openSync(path, 'r+')
    try {
      const bytes = Buffer.from(text)
      const { size, blocks } = fstatSync(fd)
      if (bytes.length > blocks * BLOCK_BYTES) return false
      const whole = Buffer.alloc(Math.max(bytes.length, size), ' ')
      bytes.copy(whole)
      return writeSync(fd, whole, 0, whole.length, 0) === whole.length
    } finally {
      closeSync(fd)
    }
  } catch {
    return false
  }
}
