import { readFileSync, statSync } from 'node:fs'
import { FlistError, systemReason } from '../base/index.ts'

const ID_MAX = 0xffff_ffff
const ACCOUNTS = { user: '/etc/passwd', group: '/etc/group' } as const

/** `--owner` and `--group` as in GNU tar: `NAME`, `ID`, or `NAME:ID`, of which the id counts. Throws FLIST_USAGE. */
export function ownerId(text: string, kind: 'user' | 'group'): number {
  const said = /^(?:[^:]*:)?\+?(\d{1,10})$/.exec(text)?.[1]
  const id = said === undefined ? idOfName(text, kind) : Number(said)
  if (id !== undefined && id <= ID_MAX) return id
  throw new FlistError('FLIST_USAGE', `Cannot use "${text}" as a ${kind}: this system knows none of that name`, {
    hint: 'Give its number: 1000, or name:1000',
  })
}

function idOfName(name: string, kind: 'user' | 'group'): number | undefined {
  for (const line of readFileSync(ACCOUNTS[kind], 'utf8').split('\n')) {
    const [known, , id = ''] = line.split(':')
    if (known === name && name !== '' && /^\d+$/.test(id)) return Number(id)
  }
  return undefined
}

export interface Moment {
  readonly seconds: number
  readonly nanoseconds: number
}

/** `--mtime` as in tar: `@SECONDS`, a date, or the path of a file, with `/` or `.` first, that has the time. Throws FLIST_USAGE. */
export function timeOf(text: string): Moment {
  if (/^[./]/.test(text)) return timeOfFile(text)
  const [, seconds, fraction = ''] = /^@(-?\d{1,15})(?:\.(\d{1,9})\d*)?$/.exec(text) ?? []
  if (seconds !== undefined) return { seconds: Number(seconds), nanoseconds: Number(fraction.padEnd(9, '0')) }
  // Without a time zone a date is UTC, so that it is the same everywhere.
  const date = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d)?)?$/.test(text) ? `${text.replace(' ', 'T')}Z` : text
  const ms = Date.parse(/^\d{4}-\d\d-\d\dZ$/.test(date) ? date.slice(0, -1) : date)
  if (!Number.isNaN(ms))
    return { seconds: Math.floor(ms / 1000), nanoseconds: (((ms % 1000) + 1000) % 1000) * 1_000_000 }
  throw new FlistError('FLIST_USAGE', `Cannot use "${text}" as a time`, {
    hint: 'Write @SECONDS, a date such as 2026-01-31 or 2026-01-31T12:00:00Z, or the path of a file that has the time',
  })
}

function timeOfFile(path: string): Moment {
  try {
    const { mtimeNs } = statSync(path, { bigint: true })
    const nanoseconds = ((mtimeNs % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n
    return { seconds: Number((mtimeNs - nanoseconds) / 1_000_000_000n), nanoseconds: Number(nanoseconds) }
  } catch (error) {
    throw new FlistError('FLIST_USAGE', `Cannot take the time of "${path}": ${systemReason(error)}`)
  }
}
