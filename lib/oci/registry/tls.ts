import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { configHome, describeError, FlistError, systemCode, systemReason } from '../../base/index.ts'
import { registryError } from './registry-errors.ts'

/** Names a PEM file of authorities trusted beside the known ones; stores read it too. */
const CA_VARIABLE = 'FLISTFS_CA_FILE'

/** Where docker and podman keep what belongs to one registry, the user's own first. */
function certificateFolders(): string[] {
  return [join(configHome(), 'containers/certs.d'), '/etc/containers/certs.d', '/etc/docker/certs.d']
}

/**
 * Whom to trust and who we are, for one host and port: `*.crt` are authorities, `*.cert` with `*.key` are ours. Undefined: as Node
 * does. Throws FLIST_STORE_DENIED where such a file is of no use.
 */
export async function registryTls(host: string, folders = certificateFolders()): Promise<SecureContext | undefined> {
  const common = process.env[CA_VARIABLE]
  const authorities = common === undefined || common === '' ? [] : [await pem(common, host)]
  let own: { cert: string; key: string } | undefined
  for (const folder of folders) {
    const here = join(folder, host)
    const names = await readdir(here).catch((error: unknown) => {
      if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCode(error))) return []
      throw error
    })
    for (const name of names.toSorted((a, b) => (a < b ? -1 : 1))) {
      if (name.endsWith('.crt')) authorities.push(await pem(join(here, name), host))
      if (!name.endsWith('.cert') || own !== undefined) continue
      own = { cert: await pem(join(here, name), host), key: await pem(join(here, name.replace(/cert$/, 'key')), host) }
    }
  }
  if (authorities.length === 0 && own === undefined) return undefined
  try {
    return createSecureContext({ ca: [...getCACertificates(), ...authorities], ...own })
  } catch (error) {
    throw registryError(
      'FLIST_STORE_DENIED',
      host,
      `its TLS files are of no use: ${describeError(error)}`,
      'Make them PEM files',
    )
  }
}

async function pem(path: string, host: string): Promise<string> {
  return await readFile(path, 'utf8').catch((error: unknown) => {
    throw new FlistError(
      'FLIST_STORE_DENIED',
      `Cannot read TLS file "${path}" for registry "${host}": ${systemReason(error)}`,
      {
        hint: 'Make the file readable, or name another one',
      },
    )
  })
}
