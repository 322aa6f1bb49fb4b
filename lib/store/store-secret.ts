import { readFile } from 'node:fs/promises'
import { FlistError, systemReason } from '../base/index.ts'
import type { StoreUrl } from './store-url.ts'

/** What a store wants to know of us. All of it is secret. */
export interface Secrets {
  readonly user: string
  readonly password: string
  readonly token: string
}

/**
 * Reads what `?password-file=` and its like name. Only for URLs the operator wrote (`trusted`): a route of an archive
 * could otherwise make us send any file of ours to any server. Throws FLIST_USAGE and FLIST_STORE_DENIED.
 */
export async function readSecrets(store: StoreUrl, trusted: boolean): Promise<Secrets> {
  const { passwordFile, passwordEnv, tokenFile, tokenEnv } = store.secrets
  if (!trusted && Object.keys(store.secrets).length > 0) {
    throw new FlistError(
      'FLIST_STORE_DENIED',
      `Cannot use store "${store.name}": a route of an archive may not read secrets`,
      {
        hint: 'Name the store yourself: `flistfs mount --store URL`',
      },
    )
  }
  const [fromPasswordFile, fromTokenFile] = await Promise.all([
    readSecretFile(store, passwordFile),
    readSecretFile(store, tokenFile),
  ])
  return {
    user: store.user,
    password: fromPasswordFile ?? readVariable(store, passwordEnv) ?? store.password,
    token: fromTokenFile ?? readVariable(store, tokenEnv) ?? store.token,
  }
}

async function readSecretFile(store: StoreUrl, path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined
  try {
    return withoutNewline(await readFile(path, 'utf8'))
  } catch (cause) {
    throw new FlistError(
      'FLIST_STORE_DENIED',
      `Cannot read secret file "${path}" of store "${store.name}": ${systemReason(cause)}`,
      {
        hint: `Make ${path} a file that you may read and others may not: chmod 600 ${path}`,
        cause,
      },
    )
  }
}

function readVariable(store: StoreUrl, name: string | undefined): string | undefined {
  if (name === undefined) return undefined
  const value = process.env[name]
  if (value !== undefined) return withoutNewline(value)
  throw new FlistError('FLIST_STORE_DENIED', `Cannot use store "${store.name}": variable "${name}" is not set`, {
    hint: `Set it: export ${name}=...`,
  })
}

function withoutNewline(text: string): string {
  return text.replace(/\r?\n$/, '')
}
