import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { configHome, describeError, FlistError, systemCode } from '../base/index.ts'
import type { StoreUrl } from './store-url.ts'

/** What the operator's credentials file says of one host. All but `region` and `plainHttp` is secret; '' where it is not said. */
export interface HostCredentials {
  readonly file: string
  readonly accessKey: string
  readonly secretKey: string
  readonly sessionToken: string
  readonly region: string
  readonly token: string
  /** For Basic authentication, where there is no token. */
  readonly user: string
  readonly password: string
  /** Token and password may be sent without TLS. */
  readonly plainHttp: boolean
}

const FIELDS = ['access_key', 'secret_key', 'session_token', 'region', 'token', 'user', 'password', 'plain_http']

/** Whose table is looked for. `name` is for people. */
export type CredentialHost = Pick<StoreUrl, 'name' | 'path' | 'host' | 'port'>

/** The user's file, then the machine's. */
export function credentialFiles(): string[] {
  return [join(configHome(), 'flistfs/credentials.toml'), '/etc/flistfs/credentials.toml']
}

/**
 * The table of the store's host and port in the first file that has one: `["host:port"]`, or `["host"]` where the port is the
 * scheme's own. Throws FLIST_STORE_DENIED where others may read that file, or where it makes no sense.
 */
export async function findHostCredentials(
  store: CredentialHost,
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

/** What a web server gets of them: over TLS, or where the file says so. Throws as `findHostCredentials`. */
export async function findWebSecrets(
  host: CredentialHost,
): Promise<Pick<HostCredentials, 'token' | 'user' | 'password'> | undefined> {
  const found = await findHostCredentials(host)
  if (found === undefined || !(host.path.startsWith('https:') || found.plainHttp)) return undefined
  const { token, user, password } = found
  return token === '' ? { token, user, password } : { token, user: '', password: '' }
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

async function tableOf(store: CredentialHost, file: string, text: string): Promise<HostCredentials | undefined> {
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
  // Left out silently, it would look as if the host had no keys.
  const unknown = Object.keys(fields).find((name) => !FIELDS.includes(name))
  if (unknown !== undefined)
    throw refused(store, file, `"${unknown}" of the host means nothing`, `Write one of ${FIELDS.join(', ')}`)
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
    user: field('user'),
    password: field('password'),
    plainHttp: fields['plain_http'] === true,
  }
}

function names(store: CredentialHost): string[] {
  const host = (store.host.includes(':') ? `[${store.host}]` : store.host).toLowerCase()
  const usual = new URL(store.path).port === ''
  return usual ? [`${host}:${store.port}`, host] : [`${host}:${store.port}`]
}

function refused(store: CredentialHost, file: string, why: string, hint: string): FlistError {
  return new FlistError('FLIST_STORE_DENIED', `Cannot use credentials file "${file}" for "${store.name}": ${why}`, {
    hint,
  })
}
