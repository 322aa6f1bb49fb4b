import { readFileSync } from 'node:fs'
import { systemCode } from '../../base/index.ts'
import type { AccountNames } from './acl-writer.ts'

/** The names in `<dir>/passwd` and `<dir>/group`, of which the first counts; as Latin-1 strings of bytes. */
export function hostNames(dir: string): AccountNames {
  let users: Map<number, string> | undefined
  let groups: Map<number, string> | undefined
  return {
    user: (id) => (users ??= readNames(`${dir}/passwd`)).get(id),
    group: (id) => (groups ??= readNames(`${dir}/group`)).get(id),
  }
}

export const NUMBERS_ONLY: AccountNames = { user: () => undefined, group: () => undefined }

/** Both files are `name:password:id:…`, a line each. */
function readNames(path: string): Map<number, string> {
  const names = new Map<number, string>()
  let text = ''
  try {
    text = readFileSync(path, 'latin1')
  } catch (error) {
    // A small system may have neither file.
    if (systemCode(error) !== 'ENOENT') throw error
  }
  for (const line of text.split('\n')) {
    const [name, , id] = line.split(':')
    if (name && id && /^\d{1,10}$/.test(id) && !names.has(Number(id))) names.set(Number(id), name)
  }
  return names
}
