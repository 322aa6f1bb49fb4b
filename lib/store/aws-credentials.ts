import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { FlistError, systemCode, systemReason } from '../base/index.ts'

/** A pair of keys, and what it is called for people. */
export interface S3Credentials {
  readonly accessKey: string
  /** Secret. */
  readonly secretKey: string
  /** Secret; '' where there is none. */
  readonly sessionToken: string
  /** '' where nobody named one. */
  readonly region: string
  /** Where they came from, without secrets. */
  readonly origin: string
}

const VARIABLES = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']

type Section = Readonly<Record<string, string>>

/** What the tools of AWS would use: `AWS_*`, else the profile of `~/.aws`. Undefined where neither says a key. */
export async function findAwsCredentials(env: NodeJS.ProcessEnv = process.env): Promise<S3Credentials | undefined> {
  const region = env['AWS_REGION'] || env['AWS_DEFAULT_REGION'] || ''
  // Read from a file by a shell or an orchestrator they may end with a newline.
  const [accessKey = '', secretKey = '', sessionToken = ''] = VARIABLES.map((name) => (env[name] ?? '').trim())
  if (accessKey !== '' && secretKey !== '') {
    return { accessKey, secretKey, sessionToken, region, origin: 'AWS_ACCESS_KEY_ID' }
  }
  const home = env['HOME'] || homedir()
  const profile = env['AWS_PROFILE'] || 'default'
  const keysFile = env['AWS_SHARED_CREDENTIALS_FILE'] || join(home, '.aws/credentials')
  const configFile = env['AWS_CONFIG_FILE'] || join(home, '.aws/config')
  const [keys, config] = await Promise.all([readIni(keysFile), readIni(configFile)])
  const said: Section = {
    ...config.get(profile === 'default' ? 'default' : `profile ${profile}`),
    ...keys.get(profile),
  }
  if (!said['aws_access_key_id'] || !said['aws_secret_access_key']) return undefined
  return {
    accessKey: said['aws_access_key_id'],
    secretKey: said['aws_secret_access_key'],
    sessionToken: said['aws_session_token'] ?? '',
    region: region || said['region'] || '',
    origin: `profile "${profile}" of ${keysFile}`,
  }
}

async function readIni(path: string): Promise<Map<string, Section>> {
  try {
    return parseIni(await readFile(path, 'utf8'))
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EACCES') return new Map()
    throw new FlistError('FLIST_STORE_DENIED', `Cannot read "${path}": ${systemReason(error)}`, {
      hint: 'Make it a readable file',
    })
  }
}

/** Sections of `key = value`; lines that are indented belong to the key above and are left out, as none of ours has any. */
export function parseIni(text: string): Map<string, Section> {
  const sections = new Map<string, Record<string, string>>()
  let section: Record<string, string> = {}
  for (const line of text.split(/\r?\n/)) {
    if (line === '' || /^[\s#;]/.test(line)) continue
    const header = /^\[\s*(.*?)\s*\]/.exec(line)?.[1]
    if (header !== undefined) {
      const name = header.replace(/\s+/g, ' ')
      section = sections.get(name) ?? {}
      sections.set(name, section)
      continue
    }
    const equals = line.indexOf('=')
    if (equals > 0) section[line.slice(0, equals).trim().toLowerCase()] = line.slice(equals + 1).trim()
  }
  return sections
}
