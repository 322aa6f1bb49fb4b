import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { constants } from 'node:fs'
import { FlistError, LIMITS, systemReason } from '../base/index.ts'
import { parsePrivateKey, parsePublicKeys, type PublicKey, type SigningKey } from '../make/index.ts'

/** Private keys, to sign with. Throws FLIST_USAGE. */
export function readSigningKeys(files: readonly string[]): SigningKey[] {
  return files.map((file) => parsePrivateKey(readSmall(file, 'the key'), `"${file}"`))
}

/** All public keys in the files. Throws FLIST_USAGE. */
export function readPublicKeys(files: readonly string[]): PublicKey[] {
  return files.flatMap((file) => parsePublicKeys(readSmall(file, 'the key'), `"${file}"`))
}

/** A file of settings' size. Throws FLIST_USAGE. */
export function readSmall(file: string, what: string): string {
  let fd: number | undefined
  try {
    // A pipe that nobody writes to must not hold us here.
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK)
    const stat = fstatSync(fd)
    if (!stat.isFile()) throw unusable(file, what, 'it is not a file')
    if (stat.size > LIMITS.settingsBytesMax) throw unusable(file, what, `it has ${stat.size} bytes`)
    return readFileSync(fd, 'utf8')
  } catch (cause) {
    if (cause instanceof FlistError) throw cause
    throw unusable(file, what, systemReason(cause), cause)
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function unusable(file: string, what: string, why: string, cause?: unknown): FlistError {
  return new FlistError('FLIST_USAGE', `Cannot read ${what} "${file}": ${why}`, {
    hint: 'Name a file that is there and that you may read',
    cause,
  })
}
