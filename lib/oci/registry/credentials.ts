import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { configHome, systemCode, xdgFolder } from '../../base/index.ts'
import { isObject } from '../manifest.ts'
import { askHelper } from './credential-helper.ts'
import { registryError } from './registry-errors.ts'

/** All of it is secret. */
export type Credentials =
  | { readonly kind: 'password'; readonly user: string; readonly password: string }
  /** An OAuth2 refresh token (docker: "identity token"). */
  | { readonly kind: 'identity'; readonly token: string }

const DOCKER = 'docker.io'
const DOCKER_KEYS = ['https://index.docker.io/v1/', 'index.docker.io', 'registry-1.docker.io']

/** podman's files, then docker's, as podman and skopeo ask them. */
export function credentialFiles(env: NodeJS.ProcessEnv = process.env): string[] {
  const named = env['REGISTRY_AUTH_FILE']
  if (named !== undefined && named !== '') return [named]
  const runtime = xdgFolder('XDG_RUNTIME_DIR', env)
  return [
    ...(runtime === undefined ? [] : [join(runtime, 'containers/auth.json')]),
    ...(process.geteuid?.() === 0 ? ['/run/containers/0/auth.json'] : []),
    join(configHome(env), 'containers/auth.json'),
    join(env['DOCKER_CONFIG'] || join(homedir(), '.docker'), 'config.json'),
  ]
}

/**
 * What the first file that knows the repository's registry says of it: a helper for it, a record for it, or the file's own helper.
 * Throws FLIST_STORE_DENIED where a file or helper is of no use.
 */
export async function findCredentials(
  registry: string,
  repository: string,
  signal: AbortSignal,
  files = credentialFiles(),
): Promise<Credentials | undefined> {
  for (const file of files) {
    const document = await readDocument(file, registry)
    if (document === undefined) continue
    const found = await inFile(document, registry, repository, file, signal)
    if (found !== undefined) return found
  }
  return undefined
}

async function readDocument(file: string, registry: string): Promise<Record<string, unknown> | undefined> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCode(error))) return undefined
    throw registryError('FLIST_STORE_DENIED', registry, `"${file}" cannot be read (${systemCode(error)})`)
  }
  try {
    const document: unknown = JSON.parse(text)
    if (isObject(document)) return document
  } catch {
    // The parser's message shows the line, and with it a secret.
  }
  throw registryError('FLIST_STORE_DENIED', registry, `"${file}" is no JSON object`, 'Log in again, or remove the file')
}

async function inFile(
  document: Record<string, unknown>,
  registry: string,
  repository: string,
  file: string,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const keys = keysOf(registry, repository)
  const helpers = isObject(document['credHelpers']) ? document['credHelpers'] : {}
  for (const key of keys) {
    const helper = helpers[key]
    if (typeof helper === 'string' && helper !== '') return await askHelper(helper, key, registry, signal)
  }
  const auths = isObject(document['auths']) ? document['auths'] : {}
  const store = document['credsStore']
  if (typeof store === 'string' && store !== '') {
    const key = registry === DOCKER ? (DOCKER_KEYS[0] ?? registry) : registry
    const found = await askHelper(store, key, registry, signal)
    if (found !== undefined) return found
  }
  for (const key of keys) {
    const record = auths[key] ?? Object.entries(auths).find(([name]) => hostOf(name) === key)?.[1]
    const found = isObject(record) ? fromRecord(record, registry, file) : undefined
    if (found !== undefined) return found
  }
  return undefined
}

/** From the repository itself up to its registry, as podman has them. */
function keysOf(registry: string, repository: string): string[] {
  const parts = repository.split('/')
  const keys = parts.map((_, index) => `${registry}/${parts.slice(0, parts.length - index).join('/')}`)
  return registry === DOCKER ? [...keys, registry, ...DOCKER_KEYS] : [...keys, registry]
}

/** Old records are by URL. */
function hostOf(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/\/(?:v[12]\/?)?$/, '')
}

function fromRecord(record: Record<string, unknown>, registry: string, file: string): Credentials | undefined {
  const { identitytoken, auth, username, password } = record
  if (typeof identitytoken === 'string' && identitytoken !== '') return { kind: 'identity', token: identitytoken }
  if (typeof auth === 'string' && auth !== '') {
    const plain = Buffer.from(auth, 'base64').toString('utf8')
    const colon = plain.indexOf(':')
    if (colon < 1)
      throw registryError('FLIST_STORE_DENIED', registry, `its record in "${file}" is torn`, 'Log in again')
    // docker pads with NULs what it encoded long ago.
    return { kind: 'password', user: plain.slice(0, colon), password: plain.slice(colon + 1).replace(/\0+$/, '') }
  }
  if (typeof username !== 'string' || typeof password !== 'string' || username === '') return undefined
  return { kind: 'password', user: username, password }
}
