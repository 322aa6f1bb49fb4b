import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { describeError, FlistError, systemCode } from '../base/index.ts'
import type { StoreUrl } from './store-url.ts'

/** What the operator's credentials file says of one host. All but `region` and `plainHttp` is secret; '' where it is not said. */
export interface HostCredentials {
  readonly file: string
  readonly accessKey: string
  readonly secretKey: string
  readonly sessionToken: string
  readonly region: string
  readonly token: string
  /** The token may be sent without TLS. */
  readonly plainHttp: boolean
}

/** The user's file, then the machine's. */
export function credentialFiles(): string[] {
  const config = process.env['XDG_CONFIG_HOME'] || join(homedir(), '.config')
  return [join(config, 'flistfs/credentials.toml'), '/etc/flistfs/credentials.toml']
}

/**
 * The table of the store's host and port in the first file that has one: `["host:port"]`, or `["host"]` where the port is the
 * scheme's own. Throws FLIST_STORE_DENIED where others may read that file, or where it makes no sense.
 */
export async function findHostCredentials(
  store: StoreUrl,
  files: readonly string[] = credentialFiles(),
): Promise<HostCredentials | undefined> {
  for (const file of files) {
    const found = await readCredentialFile(file)
    if (found === undefined) continue
    const table = await tableOf(store, file, found.text)
    if (table === undefined) continue
    if (found.isOpen) {
      throw refused(store, file, 'others may read it', `Close it: chmod 600 ${file}`)
    }
    return table
  }
  return undefined
}

async function readCredentialFile(path: string): Promise<{ text: string; isOpen: boolean } | undefined> {
  try {
    const file = await open(path, constants.O_RDONLY)
    try {
      const { mode } = await file.stat()
      return { text: await file.readFile('utf8'), isOpen: (mode & 0o077) !== 0 }
    } finally {
      await file.close()
    }
  } catch (error) {
    // The machine's file is root's own: for others it is not there.
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCode(error))) return undefined
    throw new FlistError('FLIST_STORE_DENIED', `Cannot read credentials file "${path}": ${describeError(error)}`, {
      hint: 'Make it a file that you alone can read',
      cause: error,
    })
  }
}

async function tableOf(store: StoreUrl, file: string, text: string): Promise<HostCredentials | undefined> {
  const { parse } = await import('smol-toml')
  let tables: Record<string, unknown>
  try {
    tables = parse(text)
  } catch {
    // The parser's message shows the line, and with it a secret.
    throw refused(store, file, 'it is not TOML', 'Write a table for each host: ["host:port"], access_key = "..."')
  }
  const wanted = names(store)
  const table = Object.entries(tables).find(([name]) => wanted.includes(name.toLowerCase()))?.[1]
  if (table === undefined) return undefined
  if (typeof table !== 'object' || table === null)
    throw refused(store, file, 'the host has no table', 'Write ["host:port"] and access_key = "..." below it')
  const fields = table as Record<string, unknown>
  const field = (name: string): string => {
    const value = fields[name] ?? ''
    if (typeof value === 'string') return value
    throw refused(store, file, `${name} of the host is not a text`, `Write ${name} = "..."`)
  }
  return {
    file,
    accessKey: field('access_key'),
    secretKey: field('secret_key'),
    sessionToken: field('session_token'),
    region: field('region'),
    token: field('token'),
    plainHttp: fields['plain_http'] === true,
  }
}

function names(store: StoreUrl): string[] {
  const host = (store.host.includes(':') ? `[${store.host}]` : store.host).toLowerCase()
  const usual = new URL(store.path).port === ''
  return usual ? [`${host}:${store.port}`, host] : [`${host}:${store.port}`]
}

function refused(store: StoreUrl, file: string, why: string, hint: string): FlistError {
  return new FlistError('FLIST_STORE_DENIED', `Cannot use credentials file "${file}" for "${store.name}": ${why}`, {
    hint,
  })
}
