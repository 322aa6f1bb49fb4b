import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs'
import { parse, TomlError } from 'smol-toml'
import { FlistError, LIMITS, systemReason } from '../base/index.ts'

/** One key of a settings file. */
export interface FileSetting {
  /** A verb, or `defaults`. */
  readonly section: string
  /** A long option without its dashes. */
  readonly key: string
  readonly value: unknown
  readonly file: string
  /** From 1. */
  readonly line: number
}

/** The keys of a settings file, in its order. Throws FLIST_USAGE, naming the line, where it is no TOML or has no such form. */
export function readSettingsFile(file: string): FileSetting[] {
  const text = readText(file)
  let sections: Record<string, unknown>
  try {
    sections = parse(text)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    const [what = ''] = error.message.split('\n')
    throw wrong(file, error.line, what.replace(/^Invalid TOML document: /, ''), HINT_KEYS, error)
  }
  const settings: FileSetting[] = []
  for (const [section, keys] of Object.entries(sections)) {
    if (typeof keys !== 'object' || keys === null || Array.isArray(keys) || keys instanceof Date) {
      throw wrong(
        file,
        lineOf(text, '', section),
        `"${section}" stands in no section; write it under [defaults] or [mount]`,
      )
    }
    for (const [key, value] of Object.entries(keys)) {
      settings.push({ section, key, value, file, line: lineOf(text, section, key) })
    }
    // An empty section with a wrong name is a mistake too.
    if (Object.keys(keys).length === 0)
      settings.push({ section, key: '', value: '', file, line: lineOf(text, section, '') })
  }
  return settings
}

const HINT_KEYS =
  'Keys are long options without dashes, under [defaults] or the name of a verb; `flistfs config` shows what is in force'

export function wrong(file: string, line: number, why: string, hint = HINT_KEYS, cause?: unknown): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot use the settings in "${file}", line ${line}: ${why}`, {
    hint,
    cause,
  })
}

/**
 * A pipe is refused, and so is `<(...)` of a shell: it can be read once, and settings are read again by each process that needs
 * them. Of devices the null device alone says something: nothing.
 */
function readText(file: string): string {
  let fd: number | undefined
  try {
    // A pipe that nobody writes to must not hold us here.
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
    const stat = fstatSync(fd)
    if (stat.isCharacterDevice() && stat.rdev === statSync('/dev/null').rdev) return ''
    if (!stat.isFile()) throw unusable(file, stat.isFIFO() ? 'it is a pipe, no file' : 'it is no file')
    if (stat.size > LIMITS.settingsBytesMax) throw unusable(file, `it has ${stat.size} bytes, too many for settings`)
    return readFileSync(fd, 'utf8')
  } catch (cause) {
    if (cause instanceof FlistError) throw cause
    throw new FlistError('FLIST_USAGE', `Cannot read the settings in "${file}": ${systemReason(cause)}`, {
      hint: 'Make it readable, or name another file in FLISTFS_CONFIG (empty: none)',
      cause,
    })
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function unusable(file: string, why: string): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot use the settings in "${file}": ${why}`, {
    hint: 'Write the settings into a file, and name that in FLISTFS_CONFIG (empty: none)',
  })
}

/** The line that a key is written in; its section's, or 1, where it is written in a way that is not looked for. */
function lineOf(text: string, section: string, key: string): number {
  let inside = section === ''
  let found = 1
  for (const [nth, line] of text.split('\n').entries()) {
    const header = /^\s*\[\s*"?([^\]"]+?)"?\s*\]/.exec(line)?.[1]
    if (header !== undefined) {
      inside = header === section
      if (inside) found = nth + 1
    } else if (
      inside &&
      key !== '' &&
      line
        .trimStart()
        .replace(/^"([^"]*)"/, '$1')
        .match(/^([\w-]+)\s*=/)?.[1] === key
    ) {
      return nth + 1
    }
  }
  return found
}
