import { readFileSync } from 'node:fs'
import { systemCode } from '../../base/index.ts'

/** The id that 0-fs and rfs give to names this machine does not know. */
const UNKNOWN_ID = 1000

/** Ids by name. */
export interface Accounts {
  user(name: string): number
  group(name: string): number
}

/** The accounts in `<dir>/passwd` and `<dir>/group`, read when first asked for. Names are Latin-1 strings of bytes. */
export function hostAccounts(dir: string): Accounts {
  let users: Map<string, number> | undefined
  let groups: Map<string, number> | undefined
  return {
    user: (name) => idOf((users ??= readIds(`${dir}/passwd`)), name),
    group: (name) => idOf((groups ??= readIds(`${dir}/group`)), name),
  }
}

function idOf(ids: Map<string, number>, name: string): number {
  const id = ids.get(name)
  if (id !== undefined) return id
  // The writer put the id in decimal where it had no name, as a signed 32-bit number.
  if (!/^-?\d{1,10}$/.test(name)) return UNKNOWN_ID
  const value = Number(name)
  return value >= -(2 ** 31) && value < 2 ** 32 - 1 && value !== -1 ? value >>> 0 : UNKNOWN_ID
}

/** Both files are `name:password:id:…`, a line each. */
function readIds(path: string): Map<string, number> {
  const ids = new Map<string, number>()
  let text: string
  try {
    text = readFileSync(path, 'latin1')
  } catch (error) {
    // A small image may have neither file.
    if (systemCode(error) === 'ENOENT') return ids
    throw error
  }
  for (const line of text.split('\n')) {
    const [name, , id] = line.split(':')
    if (name && id && /^\d{1,10}$/.test(id) && Number(id) < 2 ** 32 && !ids.has(name)) ids.set(name, Number(id))
  }
  return ids
}
