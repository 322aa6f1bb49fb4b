import { readFileSync, statSync } from 'node:fs'
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
    throw wrong(file, error.line, what.replace(/^Invalid TOML document: /, ''), error)
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

export function wrong(file: string, line: number, why: string, cause?: unknown): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot use the settings in "${file}", line ${line}: ${why}`, {
    hint: 'Keys are long options without dashes, under [defaults] or the name of a verb; `flistfs config` shows what is in force',
    cause,
  })
}

function readText(file: string): string {
  try {
    const { size } = statSync(file)
    if (size <= LIMITS.settingsBytesMax) return readFileSync(file, 'utf8')
    throw new FlistError('FLIST_USAGE', `Cannot use the settings in "${file}": it has ${size} bytes`, {
      hint: 'Name the right file in FLISTFS_CONFIG: this one is too large for settings',
    })
  } catch (cause) {
    if (cause instanceof FlistError) throw cause
    throw new FlistError('FLIST_USAGE', `Cannot read the settings in "${file}": ${systemReason(cause)}`, {
      hint: 'Make it readable, or name another file in FLISTFS_CONFIG (empty: none)',
      cause,
    })
  }
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
