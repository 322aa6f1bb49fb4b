import { createHash } from 'node:crypto'
import { lstatSync, readFileSync, readlinkSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { FlistError, makeFolder, systemCode, systemReason } from '../base/index.ts'

/** One file that setup puts somewhere: a link to a program of ours, or a text. */
export type SetupFile =
  | { readonly path: string; readonly link: string }
  | { readonly path: string; readonly text: string; readonly comment: string }

/**
 * What is at a path. - `none`: nothing. - `same`: exactly what we would put. - `ours`: put by a setup, of another version or
 * place. - `changed`: put by a setup, and changed since. - `foreign`: another program's.
 */
export type Standing = 'none' | 'same' | 'ours' | 'changed' | 'foreign'

const MARK = 'Made by flistfs setup'

/** The text with its last line, by which it is known again, changed or not. */
function marked(text: string, comment: string): string {
  return `${text}${comment} ${MARK}, sha256:${digestOf(text)}\n`
}

function digestOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

export function standingOf(file: SetupFile): Standing {
  let isLink: boolean
  try {
    const stat = lstatSync(file.path)
    isLink = stat.isSymbolicLink()
    if (!isLink && !stat.isFile()) return 'foreign'
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'none'
    throw failed(`look at "${file.path}"`, error)
  }
  if ('link' in file) return isLink ? linkStanding(file.path, file.link) : 'foreign'
  return isLink ? 'foreign' : textStanding(readFileSync(file.path, 'utf8'), marked(file.text, file.comment))
}

/** A link is ours when it names a script of ours: one that says so, or one that an earlier install took along. */
function linkStanding(path: string, wanted: string): Standing {
  const target = readlinkSync(path)
  if (target === wanted) return 'same'
  if (basename(target) !== basename(wanted)) return 'foreign'
  try {
    return readFileSync(join(dirname(target), 'flistfs'), 'utf8').includes('Starts flistfs under') ? 'ours' : 'foreign'
  } catch {
    return /\/flistfs\b.*\/bin\/[^/]+$/.test(target) ? 'ours' : 'foreign'
  }
}

function textStanding(found: string, wanted: string): Standing {
  if (found === wanted) return 'same'
  const [, text, digest] = new RegExp(`^(.*?)[^\\n]*${MARK}, sha256:([0-9a-f]{64})\\n$`, 's').exec(found) ?? []
  if (text === undefined || digest === undefined) return found.includes(MARK) ? 'changed' : 'foreign'
  return digestOf(text) === digest ? 'ours' : 'changed'
}

/** Publishes by rename, so that nobody ever meets half a file. Throws FLIST_NOT_PERMITTED or FLIST_SYSTEM. */
export function put(file: SetupFile): void {
  const temp = `${file.path}.${process.pid}.tmp`
  try {
    makeFolder(dirname(file.path))
    if ('link' in file) symlinkSync(file.link, temp)
    else writeFileSync(temp, marked(file.text, file.comment), { flag: 'wx', mode: 0o644 })
    renameSync(temp, file.path)
  } catch (error) {
    rmSync(temp, { force: true })
    throw failed(`write "${file.path}"`, error)
  }
}

export function take(file: SetupFile): void {
  try {
    rmSync(file.path)
  } catch (error) {
    throw failed(`remove "${file.path}"`, error)
  }
}

function failed(action: string, cause: unknown): FlistError {
  const code = systemCode(cause)
  if (code === 'EACCES' || code === 'EPERM') {
    return new FlistError('FLIST_NOT_PERMITTED', `Cannot ${action}: ${systemReason(cause)}`, {
      hint: 'Run this as root',
      cause,
    })
  }
  return new FlistError('FLIST_SYSTEM', `Cannot ${action}: ${systemReason(cause)}`, {
    hint: 'Make the place writable, or name another with --prefix',
    cause,
  })
}
