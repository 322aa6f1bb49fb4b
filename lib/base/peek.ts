import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

/*
 * What can be seen of /proc and of folders that change under us: what has ended, has gone, or is another user's looks as if nothing
 * were there. Not for what somebody named: there a failure is to be told.
 */

/** The text of a file, as UTF-8 or a byte for a character; '' where it cannot be read. */
export function textOf(path: string, encoding: 'utf8' | 'latin1' = 'latin1'): string {
  try {
    return readFileSync(path, encoding)
  } catch {
    return ''
  }
}

/** Where a symbolic link leads; '' where that cannot be read. */
export function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

/** The names in a folder; none where it cannot be read. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
